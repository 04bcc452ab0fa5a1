"""Networks that come as finished torch modules."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sklearn_cnn.architectures._draft import Draft
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.images._shape import ImageShape

_DRAWING = threading.Lock()


@contextmanager
def global_draws(seed: int) -> Iterator[None]:
    """Let code of others draw from torch's global generator, as if it had been seeded, and put its state back.

    One at a time: two threads would take each other's numbers.

    Parameters
    ----------
    seed : int
        Where its numbers start.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def make_module(
    factory: Callable[[ImageShape, int], nn.Module], image_shape: ImageShape, n_outputs: int, seed: int
) -> nn.Module:
    """Call a user's factory of networks.

    Parameters
    ----------
    factory : callable
        ``(image_shape, n_outputs) -> torch.nn.Module``; a class of modules will do.
    image_shape : ImageShape
        Size of an image.
    n_outputs : int
        Values the network is to give for an image.
    seed : int
        Seed of what it draws.

    Returns
    -------
    torch.nn.Module
        The network.

    Raises
    ------
    TypeError
        Where it gives something else.
    """
    with global_draws(seed):
        module = factory(image_shape, n_outputs)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"architecture={factory!r} must give a torch.nn.Module when called with (image_shape, n_outputs); got "
            f"{type(module).__name__}."
        )
    return module


def plan_module(module: nn.Module, image_shape: ImageShape, n_outputs: int, *, standardize: bool) -> Plan:
    """Describe a network that is one module.

    Parameters
    ----------
    module : torch.nn.Module
        From images ``(n, c, h, w)`` to ``(n, n_outputs)``.
    image_shape : ImageShape
        Size of an image.
    n_outputs : int
        Values it has to give for an image.
    standardize : bool
        Whether pixels are standardised before it.

    Returns
    -------
    Plan
        The whole module in one row; its multiply-adds are counted in a run on a blank image.

    Raises
    ------
    ValueError
        Where it does not give so many outputs.
    """
    was_training = module.training
    images = torch.zeros((2, *image_shape.channels_first), device="cpu")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter, global_draws(0):
        outputs = module.eval()(images)
    module.train(was_training)
    if getattr(outputs, "shape", None) != (2, n_outputs):
        raise ValueError(
            f"the network of architecture= must give (n, {n_outputs}) for images of shape "
            f"(n, {', '.join(map(str, image_shape.channels_first))}); for 2 images it gave "
            f"{tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__}."
        )
    draft = Draft(image_shape.channels_first)
    if standardize:
        draft.add("standardize", "standardize")
    draft.block = "network"
    draft.add(
        "network",
        "module",
        shape=(n_outputs,),
        whole_image=True,
        n_parameters=sum(p.numel() for p in module.parameters()),
        n_macs=counter.get_total_flops() // (2 * len(images)),
    )
    return draft.plan()
