"""export_onnx: a fitted estimator, with its preprocessing, as a file for other programs."""

import copy
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sklearn_cnn._optional import import_optional
from sklearn_cnn._writing import check_path, write_whole
from sklearn_cnn.estimators._classifier import CNNClassifier
from sklearn_cnn.estimators._feature_extractor import CNNFeatureExtractor, features_of
from sklearn_cnn.estimators._fitted import fitted_steps
from sklearn_cnn.estimators._regressor import CNNRegressor
from sklearn_cnn.images._shape import ImageShape
from sklearn_cnn.preprocessing._augmenter import ImageAugmenter
from sklearn_cnn.preprocessing._normalizer import ImageNormalizer, rescaling_of
from sklearn_cnn.preprocessing._reader import ImageReader

LARGEST = 2**31 - 2**20  # bytes of weights that one file can hold: a message of protobuf ends at 2 GiB


def export_onnx(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator as an ONNX file, which other programs and languages run without Python or torch.

    Preprocessing, standardisation, the network and what turns its outputs into predictions are all in the one file.
    The input ``images`` is float32, laid out as X was in ``fit``, with any number ``n`` of images. The outputs are

    - of a classifier ``probabilities`` of shape ``(n, n_classes)``, float32, and ``index`` of shape ``(n,)``, int64,
      the place of the most probable label in `classes_`;
    - of a classifier of several labels an image ``probabilities`` of shape ``(n, n_labels)``, float32, alone: an image
      has the labels above a half;
    - of a regressor ``predictions``, float64, of the shape that ``predict`` gives;
    - of a feature extractor ``features`` of shape ``(n, n_features)``, float32.

    The metadata of the file holds, as JSON, ``task``, ``image_shape`` and the ``classes`` of a classifier.

    Read more in the user guide.

    Parameters
    ----------
    estimator : estimator
        A fitted `CNNClassifier`, `CNNRegressor` or `CNNFeatureExtractor`; a pipeline that ends in one, behind
        `ImageNormalizer` and `ImageAugmenter` steps; or a search over either. It stays as it is.
    path : str or path-like
        The file, which is replaced where it is there already.

    Raises
    ------
    TypeError
        Where the estimator, or a step of the pipeline, is none of these.
    NotFittedError
        Where it is not fitted.
    OSError
        Where there can be no such file; this is found out before the work.
    ImportError
        Without onnx and onnxscript, which the extra ``onnx`` brings.
    ValueError
        Where steps of the pipeline were fitted on images of different shapes, the weights take 2 GiB or more, or
        a network of your own cannot be traced for every number of images or has a step that ONNX lacks.

    See Also
    --------
    sklearn_cnn.CNNClassifier : Its `module_` is an ordinary torch module, for all other ways out.

    Notes
    -----
    Predictions are those for ``X.astype(np.float32)`` up to rounding, about a millionth of a probability. A network
    of ``precision="float64"`` is written in float32. Nothing checks the pixels: what ``predict`` refuses, NaN for one,
    or warns of, another range than in ``fit``, goes through the model unnoticed. An augmenter is left out, as in
    ``predict``.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier, export_onnx
    >>> X, y = load_digits().images, load_digits().target
    >>> clf = CNNClassifier(random_state=0).fit(X, y)
    >>> export_onnx(clf, "digits.onnx")  # doctest: +SKIP
    """
    steps, last = _find_steps(estimator)
    check_path(os.fspath(path))
    with _quiet():
        for module in ("onnx", "onnxscript"):
            import_optional(module, package=module, extra="onnx", purpose="export_onnx")
    model = _trace(_Exported(steps, last), last)
    write_whole(os.fspath(path), model.SerializeToString())


def _ending(estimator: Any) -> tuple[tuple[str, ...], Callable[[Tensor], tuple[Tensor, ...]]]:
    """The outputs of a file by name, and how they follow from those of the network."""
    if isinstance(estimator, CNNFeatureExtractor):
        return ("features",), lambda maps: (features_of(maps, pooled=estimator.pooled_),)
    task = estimator.task_
    if task.name == "regression":
        # In float64, as predict does: float32 would round a target of 1e9 + 1 away.
        mean, scale = torch.from_numpy(task.mean), torch.from_numpy(task.scale)
        shape = (-1,) if task.n_outputs == 1 else (-1, task.n_outputs)
        return ("predictions",), lambda outputs: ((outputs.double() * scale + mean).reshape(shape),)
    if task.name == "multilabel":
        return ("probabilities",), lambda logits: (logits.sigmoid(),)
    return ("probabilities", "index"), lambda logits: (logits.softmax(dim=1), logits.argmax(dim=1))


class _Exported(nn.Module):
    """A fitted estimator with the normalisers before it: images as X stores them in, predictions out."""

    def __init__(self, steps: list[ImageNormalizer], estimator: Any) -> None:
        super().__init__()
        self.network = copy.deepcopy(estimator.module_).cpu().float().eval()
        self._rescale = [(step.image_shape_, rescaling_of(step, float64=False)) for step in steps]
        self._shape: ImageShape = estimator.image_shape_
        self._layer: str | None = getattr(estimator, "layer_", None)
        self.output_names, self._predict = _ending(estimator)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        for shape, rescale in self._rescale:
            images = shape.from_channels_first(rescale(shape.to_channels_first(images)))
        images = self._shape.to_channels_first(images)
        outputs = self.network(images) if self._layer is None else self.network.maps(images, self._layer)
        return self._predict(outputs)


def _find_steps(estimator: Any) -> tuple[list[ImageNormalizer], Any]:
    """The normalisers before a fitted estimator, and itself."""
    steps = fitted_steps(estimator)
    *before, (name, last) = steps
    if not isinstance(last, CNNClassifier | CNNRegressor | CNNFeatureExtractor):
        raise TypeError(
            f"export_onnx takes a fitted CNNClassifier, CNNRegressor or CNNFeatureExtractor, or a pipeline that ends "
            f"in one; got {_called(name, last)}."
        )
    for name, step in before:
        if isinstance(step, ImageReader):
            raise TypeError(
                f"{_called(name, step)} opens files, and a model takes numbers: export the pipeline behind it, "
                f"pipe[{[step for step, _ in steps].index(name) + 1}:], and read the images where you use the model."
            )
        if not isinstance(step, ImageNormalizer | ImageAugmenter):
            raise TypeError(
                f"of the steps before a network export_onnx knows ImageNormalizer and ImageAugmenter; got "
                f"{_called(name, step)}. Export what is behind it, and do its part where you use the model."
            )
    for _, step in steps:
        check_is_fitted(step)
    for name, step in before:
        if step.image_shape_.sample_shape != last.image_shape_.sample_shape:
            raise ValueError(
                f"{_called(name, step)} was fitted on images of shape {step.image_shape_.sample_shape}, and "
                f"{type(last).__name__} on images of shape {last.image_shape_.sample_shape}."
            )
    return [step for _, step in before if isinstance(step, ImageNormalizer)], last


def _called(name: str, step: Any) -> str:
    return f"the step {name!r}, {type(step).__name__}" if name else type(step).__name__


def _trace(module: _Exported, estimator: Any) -> Any:
    """The model as ONNX has it."""
    n_bytes = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    if n_bytes > LARGEST:
        raise ValueError(
            f"the weights take {n_bytes / 2**30:.1f} GiB, and one ONNX file holds less than 2; export `module_` with "
            f"torch.onnx.export, which can keep weights apart."
        )
    # Two images: a batch of one would be taken for the only size there is.
    images = torch.zeros((2, *estimator.image_shape_.sample_shape), dtype=torch.float32, device="cpu")
    # By the exporter alone it would be traced in other ways too, one of which is for two images only.
    with _quiet(), torch.no_grad():
        try:
            n = torch.export.Dim("n")
            program = torch.export.export(module, (images,), dynamic_shapes=({0: n},), strict=False)
        except Exception as error:  # of many types: torch's, and those of a network of the user's
            raise ValueError(
                "torch.export cannot trace this network for every number of images; in a network of your own, see "
                "that nothing depends on that number, and say x.shape[0] and not len(x)."
            ) from error
        try:
            names = list(module.output_names)
            exported: Any = torch.onnx.export(
                program, input_names=["images"], output_names=names, dynamo=True, optimize=True, verbose=False
            )
            model = exported.model_proto
        except Exception as error:  # of many types as well
            raise ValueError(
                f"torch {torch.__version__} with onnxscript {version('onnxscript')} cannot write this network as ONNX. "
                f"Each torch goes with the onnxscript of its time; otherwise the network has a step that ONNX lacks."
            ) from error
    _describe(model, estimator)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch and the exporter: what they say of themselves and of missing packages, no caller could change."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx.experimental.symbolic_shapes")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _describe(model: Any, estimator: Any) -> None:
    """Name the first axis, and set the metadata, in place of what the exporter notes for its own developers."""
    graph = model.graph
    del graph.value_info[:]
    for noted in (graph, *graph.node, *graph.input, *graph.output):
        noted.ClearField("metadata_props")  # with lines of source code and where they stand
        noted.ClearField("doc_string")
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    task = "features" if isinstance(estimator, CNNFeatureExtractor) else estimator.task_.name
    facts = {"task": task, "image_shape": asdict(estimator.image_shape_)}
    if isinstance(estimator, CNNClassifier):
        facts["classes"] = _plain_labels(estimator.classes_)
    del model.metadata_props[:]
    for name, fact in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, json.dumps(fact, default=str)


def _plain_labels(labels: NDArray[Any]) -> list[Any]:
    """Labels as values that JSON has; dates as text."""
    return list((labels.astype(str) if labels.dtype.kind in "mM" else labels).tolist())
