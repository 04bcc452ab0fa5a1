"""ArchitectureDisplay."""

from typing import Any, Self

from sklearn_cnn.architectures._picture import Face, Stroke, draw_layers
from sklearn_cnn.architectures._plan import Plan
from sklearn_cnn.estimators._base import BaseCNN
from sklearn_cnn.inspection._drawing import axes_for, import_pyplot
from sklearn_cnn.inspection._subject import find_estimator

_DOTS = 100  # pixels per inch: a figure is as large as the SVG that a notebook shows


class ArchitectureDisplay:
    """A drawing of a network as boxes, whose sizes show the sizes of the maps.

    Height and depth of a box grow with the sides of its map, its width with the number of channels. The text below
    it has its output shape, parameters and multiply-adds, and the layers between it and the next box:
    normalisation, activation, dropout. A block with branches is one box, and so is every block of a long network:
    a line around a box is a residual connection, slices of a box are parallel branches. Layers that are not trained
    are hatched.

    Use `from_estimator`, or make one from a plan and call `plot`.

    Parameters
    ----------
    plan : Plan
        The network, as `CNNClassifier.plan` and the attribute ``plan_`` give it.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that it was drawn in.
    figure_ : matplotlib.figure.Figure
        Its figure.

    See Also
    --------
    sklearn_cnn.CNNClassifier.plan : The same as a table; a notebook shows both.

    Examples
    --------
    >>> from sklearn_cnn import CNNClassifier
    >>> from sklearn_cnn.inspection import ArchitectureDisplay
    >>> plan = CNNClassifier(filters=(8, 16)).plan(image_shape=(20, 20), n_outputs=10)
    >>> display = ArchitectureDisplay(plan=plan).plot()
    >>> print(display.ax_.get_title())
    20×20×1 image to 10 outputs
    53,890 parameters, 196,480 multiply-adds
    """

    ax_: Any
    figure_: Any

    def __init__(self, *, plan: Plan) -> None:
        self.plan = plan

    def plot(self, ax: Any = None) -> Self:
        """Draw the network.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        ArchitectureDisplay
            The display itself.

        Raises
        ------
        ImportError
            Where matplotlib is missing.
        """
        purpose = "drawing a network"
        import_pyplot(purpose)
        from matplotlib import rcParams
        from matplotlib.patches import Polygon

        picture = draw_layers(self.plan.input_shape, self.plan.layers)
        size = picture.width / _DOTS, picture.height / _DOTS + 0.55  # with a title
        own = ax is None
        ax = axes_for(ax, purpose, size)
        ax.set_axis_off()
        ax.set(xlim=(0, picture.width), ylim=(picture.height, 0), aspect="equal")
        room = ax.get_window_extent()
        points = 72 / _DOTS  # points per pixel; in axes that are given the letters shrink with the boxes
        if not own:
            shrunk = min(room.width / picture.width, room.height / picture.height) / ax.figure.dpi * _DOTS
            points *= min(1.0, shrunk)
        ink = rcParams["text.color"]
        for _, shapes in picture.parts:
            for shape in shapes:
                if isinstance(shape, Face):
                    ax.add_patch(Polygon(shape.points, color=shape.colour or ink, linewidth=0, gid=shape.front))
                elif isinstance(shape, Stroke):
                    x, y = zip(*shape.points, strict=True)
                    ax.plot(x, y, color=shape.colour or ink, linewidth=shape.width * points)
                else:
                    ax.text(
                        shape.x,
                        shape.y,
                        shape.text.replace("$", r"\$"),  # a dollar would begin a formula
                        fontsize=shape.size * points,
                        fontweight="bold" if shape.bold else "normal",
                        ha="center" if shape.centred else "left",
                        va="baseline",
                    )
        totals = f"{self.plan.n_parameters:,} parameters, {self.plan.n_macs:,} multiply-adds"
        ax.set_title(f"{self.plan.title}\n{totals}", fontsize=13 * points)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any = None, y: Any = None, *, ax: Any = None) -> Self:
        """Draw the network of an estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator of this package, or a fitted pipeline or search that ends in one; or a classifier or
            regressor that is not fitted, with `X` and `y`.
        X : array-like of images or None, default=None
            Images; only their shape is used, and only where the estimator is not fitted.
        y : array-like of shape (n,) or (n, n_outputs), or None, default=None
            Targets; only the number of outputs is used, and only where the estimator is not fitted.
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        ArchitectureDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            Where it is another kind of estimator.
        NotFittedError
            Where the estimator is not fitted, and X is missing.
        ValueError
            Where the network is impossible for these images.
        ImportError
            Where matplotlib is missing.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn_cnn import CNNClassifier
        >>> from sklearn_cnn.inspection import ArchitectureDisplay
        >>> digits = load_digits()
        >>> display = ArchitectureDisplay.from_estimator(CNNClassifier(), digits.images, digits.target)
        >>> display.plan.input_shape
        (1, 8, 8)
        """
        if isinstance(estimator, BaseCNN) and not hasattr(estimator, "module_") and X is not None:
            plan = estimator.plan(X, y)
        else:
            plan = find_estimator(estimator).plan_
        return cls(plan=plan).plot(ax)
