"""Pickles of fitted estimators."""

import warnings
from typing import Any

import numpy as np
import torch

from sklearn_cnn.architectures._build import ImageNetwork
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.estimators._network import blank_network
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.training._device import nearest_device


class PicklesNetwork:
    """Pickles hold arrays and plain values: no module, no skorch object, no CUDA tensor."""

    module_: ImageNetwork
    plan_: Plan
    image_shape_: ImageShape
    device_: str

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]  # scikit-learn's is a dict
        if "module_" in state:
            state["module_"] = {name: value.cpu().numpy() for name, value in self.module_.state_dict().items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        weights = state.pop("module_", None)
        super().__setstate__(state)  # type: ignore[misc]  # scikit-learn's
        if weights is None:
            return
        device = nearest_device(self.device_)
        if device == "cpu" != self.device_:
            warnings.warn(
                f"this {type(self).__name__} was fitted on device {self.device_!r}, which is not there; it predicts on "
                f"the CPU.",
                UserWarning,
                stacklevel=2,
            )
        self.device_ = device
        double = any(value.dtype == np.float64 for value in weights.values())
        with torch.inference_mode(False):  # tensors made in inference mode could never be trained
            network = blank_network(self.plan_, self.image_shape_, double=double)
            network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        self.module_ = network.to(self.device_).eval()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")
