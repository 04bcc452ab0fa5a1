"""The torch module of a plan: building it, drawing its first weights, running it."""

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from sklearn_cnn._random import generator, global_draws
from sklearn_cnn.architectures._dropout import SeededDropout
from sklearn_cnn.architectures._kinds import KINDS, Shape
from sklearn_cnn.architectures._layer import Layer
from sklearn_cnn.architectures._plan import Plan

# Gains that keep the variance of a signal from layer to layer: He et al. 2015, arXiv:1502.01852, for the rectifiers;
# Glorot and Bengio 2010 for the others.
_GAINS = {"relu": 2**0.5, "leaky_relu": 2**0.5, "elu": 2**0.5, "gelu": 2**0.5, "silu": 2**0.5, "tanh": 5 / 3}


class ImageNetwork(nn.Module):
    """The network of a plan: images in, logits out.

    The forward pass takes images ``(n, c, h, w)`` of any real dtype. It returns ``(n, n_outputs)`` in the dtype of the
    weights, whatever the precision of the computation.

    Layers that are frozen in the plan keep their weights and batch statistics in training.

    Parameters
    ----------
    plan : Plan
        The layers to build.
    module : torch.nn.Module or None, default=None
        The module of the ready-made layer, if the plan has one.

    Attributes
    ----------
    layers : torch.nn.ModuleDict
        The module of each layer, by the layer's name.
    training_dtype : torch.dtype or None
        With ``torch.bfloat16`` training computes under autocast.
    prediction_dtype : torch.dtype or None
        The same for predictions, where the network is one that only computes features. Others leave it at None.
    ready_made : list of str
        Names of ready-made layers.
    seed, n_draws : int
        Seed of the random draws of these, and how many times they were run in training since it was set.
    starts_behind : str or None
        Name of a layer. If set, `forward` takes the output of this layer in place of images.
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
        self._in_place = [name for name in _overwriting(plan) if isinstance(self.layers[name], nn.ReLU)]
        self._shapes = {"input": plan.input_shape, **{layer.name: layer.output_shape for layer in plan.layers}}
        self._kept, self._steps = _steps(plan)
        self.ready_made = [layer.name for layer in plan.layers if layer.ready_made]
        self.seed, self.n_draws = 0, 0
        self.training_dtype: torch.dtype | None = None
        self.prediction_dtype: torch.dtype | None = None
        self.starts_behind: str | None = None

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation. Frozen layers always stay in evaluation mode."""
        super().train(mode)
        for name in self._frozen:
            self.get_submodule(name).eval()
        for name in self._in_place:
            relu = self.layers[name]
            assert isinstance(relu, nn.ReLU)
            relu.inplace = relu.training
        return self

    def _freeze_parts(self, layer: Layer) -> None:
        modules = [name for part in layer.frozen_parts for name in part.split("+")]
        self._frozen += [f"layers.{layer.name}.{name}" for name in modules]
        # Parameters outside of all parts, such as positions of patches, come before the first part: frozen too.
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
        """Compute the output of one layer.

        Parameters
        ----------
        images : Tensor of shape (n, c, h, w)
            Pixels of any real dtype.
        name : str
            Name of the layer.

        Returns
        -------
        Tensor of shape (n, c, h, w) or (n, n_features)
            Its output, in the dtype of the weights.
        """
        return self._run(images, "input", name)

    def _run(self, x: Tensor, start: str, stop: str | None) -> Tensor:
        """Run the layers after `start`, up to `stop` or to the last one. `x` is the output of `start`."""
        dtype = next(self.parameters()).dtype
        x = x.to(dtype)
        if start != "input":  # features may come as maps of one pixel
            x = x.reshape(len(x), *self._shapes[start])
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if stop == start:
            return x
        first = 0 if start == "input" else list(self.layers).index(start) + 1
        modules = islice(self.layers.values(), first, None)  # in the order of the plan
        outputs = {start: x} if start in self._kept else {}
        training = self.training
        with self._autocast(x.device.type):
            # For one image this loop and what it calls in Python take half of the time, so it does little.
            for module, step in zip(modules, self._steps[first:], strict=True):
                sources = (x,) if step.follows else tuple([outputs[source] for source in step.reads])
                x = self._run_apart(step, sources) if training and step.apart else module(*sources)
                if step.name == stop:
                    break
                if step.name in self._kept:
                    outputs[step.name] = x
                for source in step.done_with:
                    del outputs[source]  # free a map that no further layer reads
        return x.to(dtype)

    def _autocast(self, device_type: str) -> AbstractContextManager[Any]:
        """The autocast of our own; without one none, also inside an autocast of the caller."""
        dtype = self.training_dtype if self.training else self.prediction_dtype
        enabled = dtype is not None
        if not enabled and not torch.is_autocast_enabled(device_type):
            return nullcontext()
        # Without the cache of cast weights: the cache lives until the outermost autocast ends. Inside an autocast of
        # the caller, every step would compute with the weights of the first step.
        return torch.autocast(device_type, dtype, enabled=enabled, cache_enabled=False)

    def _run_apart(self, step: "_Step", sources: tuple[Tensor, ...]) -> Tensor:
        """Run a layer in training that is not computed under autocast, or whose random draws are seeded."""
        device, exact = sources[0].device, step.exact and self.training_dtype is not None
        with self._draws_of(step, device):
            if not exact:
                return self.layers[step.name](*sources)
            dtype = next(self.parameters()).dtype
            with torch.autocast(device.type, enabled=False):
                return self.layers[step.name](*[source.to(dtype) for source in sources])

    def _draws_of(self, step: "_Step", device: torch.device) -> AbstractContextManager[None]:
        """Seed the global generators for a ready-made module: its dropout draws from them."""
        if not step.ready_made:
            return nullcontext()
        self.n_draws += 1
        return global_draws(generator(self.seed, self.n_draws).initial_seed(), device)


class _Step(NamedTuple):
    """What the forward pass needs to know of a layer; asked for in every batch, so worked out once."""

    name: str
    reads: tuple[str, ...]
    follows: bool
    """Whether it reads the layer before it and nothing else."""
    done_with: tuple[str, ...]
    """Kept outputs that no further layer reads."""
    exact: bool
    ready_made: bool
    apart: bool
    """Whether it is exact or ready-made."""


def _steps(plan: Plan) -> tuple[frozenset[str], tuple[_Step, ...]]:
    """The layers whose outputs are kept, since not only the next layer reads them, and what each layer does."""
    before = ["input", *(layer.name for layer in plan.layers)]
    follows = [tuple(layer.reads) == (name,) for name, layer in zip(before, plan.layers, strict=False)]
    kept = frozenset(
        source for layer, alone in zip(plan.layers, follows, strict=True) if not alone for source in layer.reads
    )
    last_read = {source: layer.name for layer in plan.layers for source in layer.reads if source in kept}
    return kept, tuple(
        _Step(
            layer.name,
            tuple(layer.reads),
            alone,
            tuple(source for source, reader in last_read.items() if reader == layer.name),
            layer.exact,
            layer.ready_made,
            layer.exact or layer.ready_made,
        )
        for layer, alone in zip(plan.layers, follows, strict=True)
    )


def _overwriting(plan: Plan) -> list[str]:
    """Layers that may write over their input in training: nothing else needs it.

    A ReLU that does takes 5 to 12% off the time of a step with images of 32×32×3, one thread.
    """
    readers = Counter(source for layer in plan.layers for source in layer.reads)
    rewritable = {layer.name for layer in plan.layers if KINDS[layer.kind].rewritable}
    return [layer.name for layer in plan.layers if readers[layer.reads[0]] == 1 and set(layer.reads) <= rewritable]


def build_network(plan: Plan, module: nn.Module | None = None) -> ImageNetwork:
    """Build the module of a plan. Its weights are unset until `initialize` or a state dict fills them.

    Parameters
    ----------
    plan : Plan
        The layers.
    module : torch.nn.Module or None, default=None
        The module of the ready-made layer, if the plan has one.

    Returns
    -------
    ImageNetwork
        The module, on the CPU, in float32.
    """
    # Device and dtype are stated everywhere: the caller may have changed torch's defaults.
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

    Weights are normal with variance ``gain² / fan_in`` (He et al. 2015, arXiv:1502.01852), where the gain is that of
    the activation that follows. Biases are zero. A convolution that begins as the identity hands each of its input
    channels on with one filter (Zagoruyko and Komodakis 2017, arXiv:1706.00388); the others are drawn.

    Parameters
    ----------
    network : ImageNetwork
        What `build_network` gave for the plan.
    plan : Plan
        The layers.
    generator : torch.Generator
        Source of the random numbers.
    """
    for layer in plan.layers:
        if not KINDS[layer.kind].drawn:
            continue
        module = network.layers[layer.name]
        weight = module.weight
        assert isinstance(weight, Tensor)
        gain = _GAINS.get(layer.activation or "", 1.0)
        # Drawn in the default memory layout, so that the values do not depend on the layout of the weight.
        draw = torch.randn(weight.shape, generator=generator, dtype=weight.dtype, device="cpu")
        with torch.no_grad():
            weight.copy_(draw.mul_(gain / weight[0].numel() ** 0.5))
            if layer.identity:
                nn.init.dirac_(weight[: weight.shape[1]])
            if isinstance(module.bias, Tensor):
                module.bias.zero_()


def reseed_dropout(network: nn.Module, generator: torch.Generator) -> None:
    """Give each dropout layer a new seed, and one to all ready-made modules of a network together.

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
