"""A layer of a network as data: one row of a plan."""

from dataclasses import dataclass

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
        What the row computes: ``"standardize"``, ``"conv"``, ``"max_pool"``, ``"avg_pool"``,
        ``"batch_norm"``, ``"activation"``, ``"global_avg_pool"``, ``"global_max_pool"``,
        ``"adaptive_avg_pool"``, ``"flatten"``, ``"dropout"``, ``"dense"``, ``"sum"``, ``"concat"``
        or ``"module"``, a part that comes ready made.
    reads : tuple of str
        Names of the rows it takes as input; ``"input"`` is the image.
    output_shape : tuple of int
        ``(channels, height, width)``, or ``(n_features,)``.
    receptive_field : (int, int)
        Height and width, in input pixels, of the part of the image that one output value sees; the
        whole image at most.
    n_parameters : int
        Trained numbers.
    n_macs : int
        Multiply-adds for one image: those of convolutions and dense layers. Pools,
        normalisation and activations count nothing, as is usual.
    kernel, stride, dilation : (int, int) or None
        Settings of the window, where there is one.
    padding : (int, int, int, int) or None
        Pixels added at the top, bottom, left and right.
    padding_mode : str
        What is added there.
    bias : bool
        Whether a convolution or dense layer adds one.
    clipped : bool
        Whether a pool's window was clipped to its map.
    ceil : bool
        Whether a last window of a pool that hangs over the end of the map counts.
    eps : float
        What a batch normalisation adds to the variance.
    activation : str or None
        Name of the function of an activation row, and of the function that follows a
        convolution or dense layer (its weights are initialised for it).
    dropout : float
        Probability with which a dropout row sets a value to zero.
    block : str
        The block it belongs to; ``"head"`` behind the last map, ``""`` before the first block.
    frozen : bool
        Whether training leaves it as it is.
    exact : bool
        Whether it has a convolution that steps over its whole map, see `steps_over`: it computes in the precision of
        the weights in training too.
    needs_two : bool
        Whether a batch statistic in it has one value an image, so that training takes batches of two at least.
    parts : tuple of str
        Parts of a ready-made row that count as blocks; where one is several modules, they are joined by ``+``.
    frozen_parts : tuple of str
        Those that training leaves as they are.
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
    dropout: float = 0.0
    block: str = ""
    frozen: bool = False
    exact: bool = False
    needs_two: bool = False
    parts: tuple[str, ...] = ()
    frozen_parts: tuple[str, ...] = ()

    @property
    def ready_made(self) -> bool:
        """Whether it is a module that somebody else wrote: a backbone, or the user's network."""
        return self.kind == "module"
