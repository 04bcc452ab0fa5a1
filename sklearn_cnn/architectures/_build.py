"""A plan becomes a torch module."""

from contextlib import AbstractContextManager, nullcontext
from typing import Self

import torch
from torch import Tensor, nn

from sklearn_cnn._random import generator, global_draws
from sklearn_cnn.architectures._dropout import SeededDropout
from sklearn_cnn.architectures._kinds import KINDS, Shape
from sklearn_cnn.architectures._layer import Layer
from sklearn_cnn.architectures._plan import Plan

# Gains that keep the variance of a signal through a layer: He et al. 2015, arXiv:1502.01852,
# for the rectifiers; Glorot and Bengio 2010 for the rest.
_GAINS = {"relu": 2**0.5, "leaky_relu": 2**0.5, "elu": 2**0.5, "gelu": 2**0.5, "silu": 2**0.5, "tanh": 5 / 3}


class ImageNetwork(nn.Module):
    """Images in, logits out.

    The forward pass takes images as they are stored, ``(n, c, h, w)`` of any real dtype, and gives
    ``(n, n_outputs)`` in the dtype of the weights, whatever the precision of the computation.

    Rows that the plan calls frozen keep their weights, and their statistics of batches, in training too.

    Parameters
    ----------
    plan : Plan
        The layers to build.
    module : torch.nn.Module or None, default=None
        The module of a row that comes ready made.

    Attributes
    ----------
    layers : torch.nn.ModuleDict
        One module a row of the plan, by its name.
    training_dtype : torch.dtype or None
        Where this is ``torch.bfloat16``, training computes under autocast; prediction never does.
    ready_made : list of str
        Rows that are modules of others.
    seed, n_draws : int
        Where the random draws of those start, and how many times they drew.
    starts_behind : str or None
        A row whose maps `forward` is given, in place of images.
    """

    def __init__(self, plan: Plan, module: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        channels: dict[str, int] = {"input": plan.input_shape[0]}
        for layer in plan.layers:
            if layer.ready_made:
                assert module is not None
                self.layers[layer.name] = module
            else:
                self.layers[layer.name] = KINDS[layer.kind].build(layer, channels[layer.reads[0]])
            channels[layer.name] = layer.output_shape[0]
        self._frozen = [f"layers.{layer.name}" for layer in plan.layers if layer.frozen]
        for layer in plan.layers:
            if layer.frozen_parts and not layer.frozen:
                self._freeze_parts(layer)
        for name in self._frozen:
            self.get_submodule(name).requires_grad_(False)
        self._shapes = {"input": plan.input_shape, **{layer.name: layer.output_shape for layer in plan.layers}}
        self._reads = {layer.name: layer.reads for layer in plan.layers}
        last_read = {source: layer.name for layer in plan.layers for source in layer.reads}
        self._done_with = {name: [s for s, reader in last_read.items() if reader == name] for name in self._reads}
        self._exact = {layer.name for layer in plan.layers if layer.exact}
        self.ready_made = [layer.name for layer in plan.layers if layer.ready_made]
        self.seed, self.n_draws = 0, 0
        self.training_dtype: torch.dtype | None = None
        self.starts_behind: str | None = None

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; frozen rows stay in evaluation."""
        super().train(mode)
        for name in self._frozen:
            self.get_submodule(name).eval()
        return self

    def _freeze_parts(self, layer: Layer) -> None:
        modules = [name for part in layer.frozen_parts for name in part.split("+")]
        self._frozen += [f"layers.{layer.name}.{name}" for name in modules]
        # What belongs to no part, such as the position of a patch, comes before the first one.
        of_parts = tuple(f"{name}." for part in layer.parts for name in part.split("+"))
        for name, parameter in self.layers[layer.name].named_parameters():
            if not name.startswith(of_parts):
                parameter.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        images : Tensor of shape (n, c, h, w)
            Pixels of any real dtype.

        Returns
        -------
        Tensor of shape (n, n_outputs)
            Logits, in the dtype of the weights.
        """
        return self._run(images, self.starts_behind or "input", None)

    def maps(self, images: Tensor, name: str) -> Tensor:
        """Compute what a row gives for images.

        Parameters
        ----------
        images : Tensor of shape (n, c, h, w)
            Pixels of any real dtype.
        name : str
            Name of the row.

        Returns
        -------
        Tensor of shape (n, c, h, w) or (n, n_features)
            Its output, in the dtype of the weights.
        """
        return self._run(images, "input", name)

    def _run(self, x: Tensor, start: str, stop: str | None) -> Tensor:
        """From behind the row `start`, up to the row `stop` or the last."""
        dtype = next(self.parameters()).dtype
        x = x.to(dtype)
        if start != "input":  # features are kept as maps of one pixel
            x = x.reshape(len(x), *self._shapes[start])
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if stop == start:
            return x
        names = list(self.layers)
        first = 0 if start == "input" else names.index(start) + 1
        autocast = self.training and self.training_dtype is not None
        # No cache of cast weights: it lives until the outermost autocast ends, which may be the caller's, and
        # would then feed every step the weights of the first.
        with torch.autocast(x.device.type, self.training_dtype, enabled=autocast, cache_enabled=False):
            outputs = {start: x}
            for name in names[first:]:
                sources = [outputs[source] for source in self._reads[name]]
                if autocast and name in self._exact:
                    with torch.autocast(x.device.type, enabled=False), self._draws_of(name, x.device):
                        outputs[name] = x = self.layers[name](*[source.to(dtype) for source in sources])
                else:
                    with self._draws_of(name, x.device):
                        outputs[name] = x = self.layers[name](*sources)
                if name == stop:
                    break
                for source in self._done_with[name]:
                    del outputs[source]  # a map nobody reads any more is given back
        return x.to(dtype)

    def _draws_of(self, name: str, device: torch.device) -> AbstractContextManager[None]:
        """Dropout of a ready-made module draws from torch's global generators: lend it seeded ones."""
        if not self.training or name not in self.ready_made:
            return nullcontext()
        self.n_draws += 1
        return global_draws(generator(self.seed, self.n_draws).initial_seed(), device)


def build_network(plan: Plan, module: nn.Module | None = None) -> ImageNetwork:
    """Build the module of a plan. Its weights are unset until `initialize` or a state dict fills them.

    Parameters
    ----------
    plan : Plan
        The layers.
    module : torch.nn.Module or None, default=None
        The module of a row that comes ready made.

    Returns
    -------
    ImageNetwork
        The module, on the CPU, in float32.
    """
    # Device and dtype are said everywhere: torch has defaults for both that the caller may have changed.
    return ImageNetwork(plan, module).float().to(memory_format=torch.channels_last)


def tensor_shapes(plan: Plan) -> dict[str, Shape]:
    """Names and shapes of the tensors in the state dict of a plan's network, found without making a module.

    Parameters
    ----------
    plan : Plan
        The layers.

    Returns
    -------
    dict of str to tuple of int
        Such as ``{"layers.block1_conv.weight": (8, 1, 3, 3)}``, in the order of the state dict. Tensors of ready-made
        modules are left out: a plan does not know them.
    """
    channels = {"input": plan.input_shape[0], **{layer.name: layer.output_shape[0] for layer in plan.layers}}
    return {
        f"layers.{layer.name}.{name}": shape
        for layer in plan.layers
        for name, shape in KINDS[layer.kind].tensors(layer, channels[layer.reads[0]]).items()
    }


def initialize(network: ImageNetwork, plan: Plan, generator: torch.Generator) -> None:
    """Draw the first weights of a network.

    Normal with variance ``gain² / fan_in`` (He et al. 2015, arXiv:1502.01852; the gain is that of the
    activation which follows), biases zero.

    Parameters
    ----------
    network : ImageNetwork
        What `build_network` gave for the plan.
    plan : Plan
        The layers.
    generator : torch.Generator
        Source of the draws.
    """
    for layer in plan.layers:
        if not KINDS[layer.kind].drawn:
            continue
        module = network.layers[layer.name]
        weight = module.weight
        assert isinstance(weight, Tensor)
        gain = _GAINS.get(layer.activation or "", 1.0)
        # Drawn in the default layout, so that the values do not depend on how the weight is stored.
        draw = torch.randn(weight.shape, generator=generator, dtype=weight.dtype, device="cpu")
        with torch.no_grad():
            weight.copy_(draw.mul_(gain / weight[0].numel() ** 0.5))
            if isinstance(module.bias, Tensor):
                module.bias.zero_()


def reseed_dropout(network: nn.Module, generator: torch.Generator) -> None:
    """Give every dropout layer, and all ready-made modules together, a seed of its own.

    Parameters
    ----------
    network : torch.nn.Module
        A network.
    generator : torch.Generator
        Source of the seeds.
    """
    for module in network.modules():
        if isinstance(module, ImageNetwork) and module.ready_made:
            module.seed, module.n_draws = int(torch.randint(2**62, (), generator=generator, device="cpu")), 0
        elif isinstance(module, SeededDropout):
            module.reseed(int(torch.randint(2**62, (), generator=generator, device="cpu")))
