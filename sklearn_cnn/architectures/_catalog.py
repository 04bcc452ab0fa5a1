"""The catalog: classic networks by name."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from sklearn_cnn.architectures._classics import ImageTooSmallError, alexnet, inception, lenet5, resnet, vgg
from sklearn_cnn.architectures._draft import Draft
from sklearn_cnn.architectures._plan import Plan

SMALL = 64
"""Images below this many pixels a side are small. First layers made for photographs of 224×224 pixels would reduce
them to almost nothing, so they keep the resolution of small images instead."""


@dataclass(frozen=True)
class Entry:
    """A network of the catalog.

    Attributes
    ----------
    name : str
        As written in ``architecture=``.
    paper : str
        Where it was introduced.
    lay_out : callable
        ``(draft, small, dropout)``: adds all layers but the output layer.
    has_dropout : bool
        Whether it uses the parameter ``dropout``.
    adapts : bool
        Whether small images get other first layers. Weights that were trained on large images do not fit these.
    lr_share : float
        Its share of the usual learning rate. Deep networks without normalisation train at small rates only.
    torchvision : str or None
        Name of torchvision's network with the same layers, whose weights fit.
    mean, std : tuple of float
        Mean and deviation of the pixels that those weights were trained on: red, green and blue, where white is 1.
    """

    name: str
    paper: str
    lay_out: Callable[[Draft, bool, float], None]
    has_dropout: bool = False
    adapts: bool = False
    lr_share: float = 1.0
    torchvision: str | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


def entry_of(name: str) -> Entry:
    """Look a network up by its name.

    Raises
    ------
    ValueError
        For an unknown name. The message lists similar names.
    """
    if name in CATALOG:
        return CATALOG[name]
    near = difflib.get_close_matches(name.lower(), CATALOG, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {', '.join(CATALOG)}."
    raise ValueError(f"architecture={name!r} is unknown; {hint}")


@dataclass(frozen=True)
class CatalogNet:
    """An architecture of the catalog.

    Attributes
    ----------
    name : str
        One of `list_architectures`.
    dropout : float
        Probability before dense layers, in the networks that have dropout.
    standardize : bool
        Whether pixels are standardised first.
    """

    name: str
    dropout: float = 0.25
    standardize: bool = True

    @property
    def entry(self) -> Entry:
        """The network in the catalog. Raises a ValueError for an unknown name."""
        return entry_of(self.name)

    @property
    def lr_share(self) -> float:
        """Its share of the usual learning rate."""
        return self.entry.lr_share

    def plan(self, input_shape: tuple[int, int, int], n_outputs: int) -> Plan:
        """Lay the network out, see `Architecture.plan`.

        Raises
        ------
        ValueError
            For an unknown name, or an image that is too small.
        """
        try:
            return _lay_out(self, input_shape, n_outputs)
        except ImageTooSmallError:
            _, height, width = input_shape
            raise ValueError(
                f"architecture={self.name!r} takes images of at least {smallest_side(self.name)} pixels a side; these "
                f"are {height}×{width}. Use conv blocks (architecture=None), or enlarge the images."
            ) from None


@cache
def smallest_side(name: str) -> int:
    """The side, in pixels, of the smallest square image that a network takes."""
    side = 1
    while True:
        try:
            _lay_out(CatalogNet(name, dropout=0.0, standardize=False), (1, side, side), 2)
        except ImageTooSmallError:
            side += 1
        else:
            return side


def _lay_out(net: CatalogNet, input_shape: tuple[int, int, int], n_outputs: int) -> Plan:
    entry, draft = net.entry, Draft(input_shape)
    if net.standardize:
        draft.standardize()
    entry.lay_out(draft, min(input_shape[1:]) < SMALL, net.dropout)
    draft.dense("output", n_outputs, None)
    used = "only dropout is" if entry.has_dropout else "none is"
    return draft.plan(net, f"{entry.name}: {entry.paper}; of the parameters of layers, {used} used")


_VGG_PAPER = "Simonyan and Zisserman 2015, arXiv:1409.1556"
_RESNET_PAPER = "He, Zhang, Ren and Sun 2016, arXiv:1512.03385"

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("lenet5", "LeCun, Bottou, Bengio and Haffner 1998, doi:10.1109/5.726791", lenet5, lr_share=0.5),
        Entry(
            "alexnet",
            "Krizhevsky 2014, arXiv:1404.5997, after Krizhevsky et al. 2012",
            alexnet,
            has_dropout=True,
            adapts=True,
            lr_share=0.05,
            torchvision="alexnet",
        ),
        *(
            Entry(name, _VGG_PAPER, vgg(*n_convs), has_dropout=True, lr_share=share, torchvision=name)
            for name, n_convs, share in (
                ("vgg11", (1, 1, 2, 2, 2), 0.05),
                ("vgg13", (2, 2, 2, 2, 2), 0.05),
                ("vgg16", (2, 2, 3, 3, 3), 0.02),
                ("vgg19", (2, 2, 4, 4, 4), 0.02),
            )
        ),
        *(
            Entry(name, _RESNET_PAPER, resnet(n_units, bottleneck=bottleneck), adapts=True, torchvision=name)
            for name, n_units, bottleneck in (
                ("resnet18", (2, 2, 2, 2), False),
                ("resnet34", (3, 4, 6, 3), False),
                ("resnet50", (3, 4, 6, 3), True),
            )
        ),
        Entry(
            "inception",
            "Szegedy et al. 2015, arXiv:1409.4842; normalised, arXiv:1502.03167",
            inception,
            has_dropout=True,
            adapts=True,
            torchvision="googlenet",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
    )
}


def list_architectures() -> list[str]:
    """Names of the classic networks that ``architecture=`` takes.

    Returns
    -------
    list of str
        The names.

    Notes
    -----
    LeNet-5: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998,
    doi:10.1109/5.726791. AlexNet: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014,
    arXiv:1404.5997, after Krizhevsky, Sutskever and Hinton 2012. VGG: Simonyan and Zisserman, "Very deep convolutional
    networks for large-scale image recognition", 2015, arXiv:1409.1556. ResNet: He, Zhang, Ren and Sun, "Deep residual
    learning for image recognition", 2016, arXiv:1512.03385. Inception: Szegedy et al., "Going deeper with
    convolutions", 2015, arXiv:1409.4842, with the normalisation of Ioffe and Szegedy, 2015, arXiv:1502.03167.

    Examples
    --------
    >>> from sklearn_cnn import list_architectures
    >>> list_architectures()[:3]
    ['lenet5', 'alexnet', 'vgg11']
    """
    return list(CATALOG)
