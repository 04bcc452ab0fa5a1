"""Architectures whose network comes as a finished torch module, described by what is known of that module."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from sklearn_cnn.architectures._catalog import CATALOG
from sklearn_cnn.architectures._draft import Draft
from sklearn_cnn.architectures._plan import Plan

LR_SHARES = {"batch": 1.0, "layer": 0.1, None: 0.05}
"""The share of the usual learning rate that a backbone takes, by the kind of normalisation in it.

Measured with small networks of timm on 1,000 of scikit-learn's digits, enlarged, from random weights: six epochs of
AdamW with rates of up to 0.01 times the share. Test accuracy with two seeds:

=================================  ============  ============  ============  ============  ============
network (normalisation)            1             0.3           0.1           0.05          0.03 or 0.02
=================================  ============  ============  ============  ============  ============
test_vit, 160×160 (layer)          0.36, 0.63    0.80, 0.81    0.76, 0.70                  0.67, 0.68
test_convnext, 64×64 (layer)       0.97, 0.97    0.96, 0.97
test_nfnet, 64×64 (none)                                       0.99, 0.98    0.97, 0.96    0.91, 0.91
=================================  ============  ============  ============  ============  ============

These networks end in 64 features, test_nfnet in 192. Wide networks need smaller rates than narrow ones, so the shares
are below the best of the table.

torchvision's vgg11, which has no normalisation, takes the share of the catalog's: after five epochs on 480 digits of
32×32 pixels its accuracy was 0.92 with a share of 0.05, and 0.10 with a share of 1.
"""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The images that a network was trained on.

    Attributes
    ----------
    size : (int, int)
        Height and width in pixels.
    interpolation : str
        How they were resized: ``"bilinear"``, ``"bicubic"``, or another name of a filter of Pillow.
    crop : float
        The share of height and width that is kept: images are resized to ``size / crop`` and their margin is cut off.
    resize : {"crop", "stretch", "pad"}
        As in `ImageReader`.
    mean, std : tuple of float
        Of the pixels, red, green and blue, where white is 1.
    """

    size: tuple[int, int]
    interpolation: str
    crop: float
    resize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ModuleFacts:
    """What a plan needs to know of a module, found out by running it once on a blank image.

    Attributes
    ----------
    input_shape : (int, int, int)
        ``(channels, height, width)`` of that image. What follows is true for this shape alone.
    output_shape : tuple of int
        Shape of what the module gives for one image.
    n_parameters : int
        Trained numbers.
    n_macs : int
        Multiply-adds for one image.
    exact, needs_two : bool
        As in `Layer`.
    normalization : {"batch", "layer"} or None
        Kind of normalisation in it: by statistics of a batch, only by statistics of each image, or none at all.
    inner_map : int
        Number of values in the largest map inside of it; 0 where it is not known.
    """

    input_shape: tuple[int, int, int]
    output_shape: tuple[int, ...]
    n_parameters: int
    n_macs: int
    exact: bool
    needs_two: bool
    normalization: Literal["batch", "layer"] | None
    inner_map: int = 0

    def add_to(self, draft: Draft, name: str, parts: tuple[str, ...] = ()) -> None:
        """Append the module to a draft, as one layer.

        Raises
        ------
        ValueError
            Where the draft is for images of another shape.
        """
        if draft.input_shape != self.input_shape:
            raise ValueError(
                f"the module is known for images of shape {self.input_shape} alone, not {draft.input_shape}."
            )
        draft.add(
            name,
            "module",
            shape=self.output_shape,
            n_parameters=self.n_parameters,
            n_macs=self.n_macs,
            exact=self.exact,
            needs_two=self.needs_two,
            inner_map=self.inner_map,
            parts=parts,
        )


@dataclass(frozen=True, kw_only=True)
class BackboneNet(ModuleFacts):
    """A network of torchvision or timm without its last layer, with a head of ours.

    Attributes
    ----------
    name : str
        As in ``architecture=``: ``"torchvision:NAME"``, ``"timm:NAME"`` or ``"timm:NAME.TAG"``. That of a network of
        the Hugging Face hub is its name in timm's registry, so that it can be made again without a network connection.
    dropout : float
        Probability before the output layer.
    standardize : bool
        Whether pixels are standardised first.
    parts : tuple of str
        As in `Layer`.
    size : (int, int)
        Height and width in pixels of the images that it was made for.
    mean, std : tuple of float
        Of the pixels that it was trained on, red, green and blue, where white is 1.
    interpolation : str or None
        How those images were resized. None is not known.
    crop : float or None
        Share of their height and width that was kept. None is not known.
    """

    name: str
    dropout: float
    standardize: bool
    parts: tuple[str, ...]
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str | None = None
    crop: float | None = None

    @property
    def lr_share(self) -> float:
        """Its share of the usual learning rate: that of the same network in the catalog, else by its normalisation."""
        model = self.name.partition(":")[2].partition(".")[0]  # timm writes the weights after a dot
        same = (entry.lr_share for entry in CATALOG.values() if entry.torchvision == model)
        return next(same, LR_SHARES[self.normalization])

    def plan(self, input_shape: tuple[int, int, int], n_outputs: int) -> Plan:
        """Lay the network out, see `Architecture.plan`.

        Raises
        ------
        ValueError
            For another input shape than that of the facts.
        """
        draft = Draft(input_shape)
        if self.standardize:
            draft.standardize()
        draft.block = "backbone"
        self.add_to(draft, "backbone", self.parts)
        draft.block = "head"
        draft.drop("output_dropout", self.dropout)
        draft.dense("output", n_outputs, None)
        mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (self.mean, self.std))
        resized = ""
        if self.interpolation is not None and self.crop is not None:
            resized = f", resized by {self.interpolation} interpolation and cut to {self.crop:.3g} of a side"
        return draft.plan(
            self,
            f"{self.name}, made for {self.size[0]}×{self.size[1]} pixels of mean {mean} and deviation {std}{resized}; "
            f"of the parameters of layers, only dropout is used",
        )


@dataclass(frozen=True, kw_only=True)
class UserNet(ModuleFacts):
    """A network of the user's own.

    Attributes
    ----------
    factory : callable
        ``(image_shape, n_outputs) -> torch.nn.Module``.
    standardize : bool
        Whether pixels are standardised first.
    """

    factory: Callable[..., Any] = field(repr=False)
    standardize: bool

    @property
    def lr_share(self) -> float:
        """Its share of the usual learning rate: a tenth, since nothing is known of how it trains best."""
        return 0.1

    def plan(self, input_shape: tuple[int, int, int], n_outputs: int) -> Plan:
        """Lay the network out, see `Architecture.plan`.

        Raises
        ------
        ValueError
            For another input shape or number of outputs than that of the facts.
        """
        if self.output_shape != (n_outputs,):
            raise ValueError(f"the module gives {self.output_shape[0]} values for an image, not {n_outputs}.")
        draft = Draft(input_shape)
        if self.standardize:
            draft.standardize()
        draft.block = "network"
        self.add_to(draft, "network")
        return draft.plan(self)
