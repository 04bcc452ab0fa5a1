"""A plan becomes a torch module."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_cnn._random import generator, global_draws
from sklearn_cnn.architectures._dropout import SeededDropout
from sklearn_cnn.architectures._plan import Layer, Plan

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
# Gains that keep the variance of a signal through a layer: He et al. 2015, arXiv:1502.01852,
# for the rectifiers; Glorot and Bengio 2010 for the rest.
_GAINS = {"relu": 2**0.5, "leaky_relu": 2**0.5, "elu": 2**0.5, "gelu": 2**0.5, "silu": 2**0.5, "tanh": 5 / 3}
_PAD_MODES = {"zeros": "constant", "replicate": "replicate", "reflect": "reflect", "circular": "circular"}


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
            if layer.kind == "module":
                assert module is not None
                self.layers[layer.name] = module
            else:
                self.layers[layer.name] = _BUILDERS[layer.kind](layer, channels[layer.reads[0]])
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
        self.ready_made = [layer.name for layer in plan.layers if layer.kind == "module"]
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


class Standardize(nn.Module):
    """Subtract a mean from each channel and divide by its standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_channels, 1, 1, device="cpu"))
        self.register_buffer("std", torch.ones(n_channels, 1, 1, device="cpu"))

    def set_statistics(self, mean: NDArray[Any], std: NDArray[Any]) -> None:
        """Take over statistics of shape ``(n_channels,)``."""
        self.mean.copy_(torch.from_numpy(mean).view_as(self.mean))
        self.std.copy_(torch.from_numpy(std).view_as(self.std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class UnevenConv2d(nn.Conv2d):
    """A convolution with another padding before the map than behind it, or with a stride larger than the map.

    A separate pad costs twice the time of a padding inside the convolution, so this stands
    only where torch has no such padding, or leaves part of the result unset: see `steps_over`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        sides: tuple[int, int, int, int],
        mode: str,
        stride: tuple[int, int],
        steps_over: bool,
        device: Any = None,  # skip_init looks for it by name
        **settings: Any,
    ) -> None:
        # A stride larger than the map is taken afterwards: there is little to take it from.
        self.taken = stride if steps_over else (1, 1)
        stride = (1, 1) if steps_over else stride
        super().__init__(in_channels, out_channels, device=device, stride=stride, **settings)
        top, bottom, left, right = sides
        self.sides = (left, right, top, bottom)
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        maps = super().forward(F.pad(x, self.sides, mode=self.mode))
        return maps[:, :, :: self.taken[0], :: self.taken[1]]


class Dense(nn.Linear):
    """A dense layer whose result for an image does not depend on how many others come with it.

    Products of fewer rows than this run in another kernel, which rounds differently: measured on one
    to eight threads, differences of up to 2e-5 in logits for batches below 4 rows a thread, and none
    from there on. The weights dominate so small a product, and the rows that are added cost little.
    """

    SMALLEST = 8

    def forward(self, x: Tensor) -> Tensor:
        # A graph is for batches of any size and runs in other kernels: there the question would fix the size.
        if self.training or torch.compiler.is_compiling() or len(x) >= self.SMALLEST:
            return super().forward(x)
        missing = self.SMALLEST - len(x)
        return super().forward(F.pad(x, (0, 0, 0, missing)))[: len(x)]


class GlobalPool(nn.Module):
    """Mean or maximum of every map."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) if self.kind == "global_avg_pool" else x.amax(dim=(2, 3))


class Sum(nn.Module):
    """Sum of two maps."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Concat(nn.Module):
    """The channels of several maps, one after the other."""

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, dim=1)


def _unset(cls: type[nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    """Make a module without drawing its weights: torch would draw them from the global generator."""
    return nn.utils.skip_init(cls, *args, **kwargs)  # type: ignore[no-untyped-call]  # torch has no types here


def _conv(layer: Layer, in_channels: int) -> nn.Module:
    assert layer.kernel is not None and layer.stride is not None and layer.dilation is not None
    assert layer.padding is not None
    top, bottom, left, right = layer.padding
    settings: dict[str, Any] = {
        "kernel_size": layer.kernel,
        "stride": layer.stride,
        "dilation": layer.dilation,
        "bias": layer.bias,
    }
    channels = in_channels, layer.output_shape[0]
    if (top, left) == (bottom, right) and not layer.exact:
        return _unset(nn.Conv2d, *channels, padding=(top, left), padding_mode=layer.padding_mode, **settings)
    mode = _PAD_MODES[layer.padding_mode]
    return _unset(UnevenConv2d, *channels, sides=layer.padding, mode=mode, steps_over=layer.exact, **settings)


def _dense(layer: Layer, in_features: int) -> nn.Module:
    return _unset(Dense, in_features, layer.output_shape[0], bias=layer.bias)


def _pool(layer: Layer, _: int) -> nn.Module:
    assert layer.kernel is not None
    pool = nn.MaxPool2d if layer.kind == "max_pool" else nn.AvgPool2d
    padding = 0 if layer.padding is None else layer.padding[0]
    return pool(layer.kernel, layer.stride, padding=padding, ceil_mode=layer.ceil)


def _activation(layer: Layer, _: int) -> nn.Module:
    assert layer.activation is not None
    return _ACTIVATIONS[layer.activation]()


_BUILDERS: dict[str, Callable[[Layer, int], nn.Module]] = {
    "standardize": lambda _, channels: Standardize(channels),
    "conv": _conv,
    "max_pool": _pool,
    "avg_pool": _pool,
    "adaptive_avg_pool": lambda layer, _: nn.AdaptiveAvgPool2d(layer.output_shape[1:]),
    "batch_norm": lambda layer, _: nn.BatchNorm2d(layer.output_shape[0], eps=layer.eps, device="cpu"),
    "activation": _activation,
    "global_avg_pool": lambda layer, _: GlobalPool(layer.kind),
    "global_max_pool": lambda layer, _: GlobalPool(layer.kind),
    "flatten": lambda *_: nn.Flatten(),
    "dropout": lambda layer, _: SeededDropout(layer.dropout),
    "dense": _dense,
    "sum": lambda *_: Sum(),
    "concat": lambda *_: Concat(),
}


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
        if layer.kind not in ("conv", "dense"):
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
