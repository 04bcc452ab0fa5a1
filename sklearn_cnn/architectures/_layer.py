"""A layer of a network as data: one row of a plan."""

from dataclasses import dataclass, field

Pair = tuple[int, int]
"""Height and width."""

Sides = tuple[int, int, int, int]
"""Padding of a map in pixels: top, bottom, left, right."""


@dataclass(frozen=True)
class Layer:
    """One row of a `Plan`.

    Attributes
    ----------
    name : str
        Unique in its plan, such as ``"block1_conv"``.
    kind : str
        What it computes, one of ``KINDS`` in ``_kinds.py``: ``"standardize"``, ``"whiten"``, ``"conv"``,
        ``"max_pool"``, ``"avg_pool"``, ``"adaptive_avg_pool"``, ``"batch_norm"``, ``"activation"``,
        ``"global_avg_pool"``, ``"global_max_pool"``, ``"flatten"``, ``"dropout"``, ``"dense"``, ``"sum"``,
        ``"concat"``, or ``"module"``: a ready-made module.
    reads : tuple of str
        Names of the layers that are its inputs. ``"input"`` is the image.
    output_shape : tuple of int
        ``(channels, height, width)``, or ``(n_features,)``.
    receptive_field : (int, int)
        Height and width, in input pixels, of the part of the image that one output value depends
        on. At most the whole image.
    n_parameters : int
        Trained numbers.
    n_macs : int
        Multiply-adds for one image: those of convolutions and dense layers. As is usual, pools, normalisation and
        activations are not counted.
    kernel, stride, dilation : (int, int) or None
        Settings of the window of a convolution or pool.
    padding : (int, int, int, int) or None
        Pixels added at the top, bottom, left and right.
    padding_mode : str
        What these pixels hold, one of ``PADDING_MODES`` in ``_spec.py``.
    bias : bool
        Whether a convolution or dense layer has a bias.
    clipped : bool
        Whether the window of a pool was larger than its map, and was clipped to it.
    ceil : bool
        Whether a pool has a last window that extends beyond the end of the map.
    eps : float
        What a batch normalisation adds to the variance.
    activation : str or None
        Of an activation, its function. Of a convolution or dense layer, the function that follows, for which its
        weights are initialised.
    identity : bool
        Whether a convolution begins with filters that hand their channels on as they are.
    dropout : float
        Probability with which a dropout sets a value to zero.
    block : str
        The block that it belongs to: ``"head"`` after the last map, ``""`` before the first block.
    frozen : bool
        Whether training leaves it unchanged.
    exact : bool
        Whether a stride in it is larger than the map, see `steps_over`. Such a layer computes in the precision of the
        weights, in training too.
    needs_two : bool
        Whether a batch normalisation in it gets one value an image. Training then needs at least two images a batch.
    inner_map : int
        Of a ready-made module, the number of values in the largest map inside of it. Equality does not depend on it.
    parts : tuple of str
        The blocks inside of a ready-made module. Names of modules that are one block together are joined by ``+``.
    frozen_parts : tuple of str
        Those that training leaves unchanged.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    output_shape: tuple[int, ...]
    receptive_field: Pair
    n_parameters: int = 0
    n_macs: int = 0
    kernel: Pair | None = None
    stride: Pair | None = None
    dilation: Pair | None = None
    padding: Sides | None = None
    padding_mode: str = "zeros"
    bias: bool = False
    clipped: bool = False
    ceil: bool = False
    eps: float = 1e-5
    activation: str | None = None
    identity: bool = False
    dropout: float = 0.0
    block: str = ""
    frozen: bool = False
    exact: bool = False
    needs_two: bool = False
    inner_map: int = field(default=0, compare=False)
    parts: tuple[str, ...] = ()
    frozen_parts: tuple[str, ...] = ()

    @property
    def ready_made(self) -> bool:
        """Whether its module is made elsewhere: a network of torchvision or timm, or the user's own."""
        return self.kind == "module"
