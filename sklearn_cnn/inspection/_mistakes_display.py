"""MistakesDisplay."""

from math import ceil, floor, log10, sqrt
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils.validation import column_or_1d

from sklearn_cnn.inspection._drawing import (
    COLOURS,
    axes_for,
    cut_middle,
    draw_picture,
    grid_inside,
    import_pyplot,
    limits_of,
)
from sklearn_cnn.inspection._subject import check_count, find_trained, look_at

_WRONG = COLOURS[1]


class MistakesDisplay:
    """Images that a network predicts wrongly or is unsure of, with prediction and truth.

    Use `from_estimator`, which also plots it.

    Read more in the user guide.

    Parameters
    ----------
    pictures : ndarray of shape (n, height, width) or (n, height, width, channels)
        The images, before any preprocessing.
    y_true : ndarray of shape (n,)
        True labels or numbers.
    y_pred : ndarray of shape (n,)
        Predicted labels or numbers.
    probabilities : ndarray of shape (n, 2) or None, default=None
        Probabilities of the true and of the predicted class. None for a regressor; then no image is marked as wrong.
    rows : ndarray of int of shape (n,) or None, default=None
        Indices of these images in X.
    caption : str, default=""
        Text below the pictures, or in their place where there are none.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that the pictures are in, hidden.
    axes_ : ndarray of Axes of shape (n_rows, n_columns)
        The grid; empty axes are switched off. An empty array where there are no pictures.
    figure_ : matplotlib.figure.Figure
        The figure.
    text_ : matplotlib.text.Text
        The caption.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier
    >>> from sklearn_cnn.inspection import MistakesDisplay
    >>> X, y = load_digits().images, load_digits().target
    >>> clf = CNNClassifier((8, 16), max_epochs=3, random_state=0).fit(X[:1000], y[:1000])
    >>> display = MistakesDisplay.from_estimator(clf, X[1000:], y[1000:], n_images=9)
    >>> display.pictures.shape, bool((display.y_true != display.y_pred).all())
    ((9, 8, 8), True)
    """

    def __init__(
        self,
        *,
        pictures: NDArray[Any],
        y_true: NDArray[Any],
        y_pred: NDArray[Any],
        probabilities: NDArray[np.float64] | None = None,
        rows: NDArray[np.intp] | None = None,
        caption: str = "",
    ) -> None:
        self.pictures = pictures
        self.y_true = y_true
        self.y_pred = y_pred
        self.probabilities = probabilities
        self.rows = rows
        self.caption = caption

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, n_images: int = 16, order: str = "wrong", ax: Any = None
    ) -> Self:
        """Draw images that an estimator predicts wrongly or is unsure of.

        Parameters
        ----------
        estimator : CNNClassifier, CNNRegressor, or pipeline or search
            Fitted. A pipeline ends in a classifier or regressor; a search is over either.
        X : array-like of images
            As for its ``predict``; use images that it was not trained on.
        y : array-like of shape (n,)
            True targets: one label or one number for each image.
        n_images : int, default=16
            Number of images to draw; fewer where there are fewer.
        order : {"wrong", "uncertain"}, default="wrong"
            ``"wrong"``: wrongly predicted images, those with the largest probability of the wrong class first; for
            a regressor the images with the largest errors. ``"uncertain"``: the images with the smallest probability
            of the predicted class, right or wrong.
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        MistakesDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            For an unknown `order`, or ``"uncertain"`` with a regressor; where `n_images` is not a positive integer;
            for several labels or numbers an image.
        TypeError
            Where `estimator` is of another kind.
        NotFittedError
            Where the estimator is not fitted.
        ImportError
            Where matplotlib is missing.
        """
        if order not in ("wrong", "uncertain"):
            raise ValueError(f"order is 'wrong' or 'uncertain'; got {order!r}.")
        check_count("n_images", n_images)
        network = find_trained(estimator, cls.__name__)
        check_consistent_length(X, y)
        choose = _choose_numbers if is_regressor(network) else _choose_labels
        settings = choose(estimator, network, X, y, n_images, order)
        # Where there is no mistake, one image gives the shape of the empty array.
        chosen = settings["rows"]
        pictures = look_at(estimator, _safe_indexing(X, chosen if len(chosen) else [0])).pictures[: len(chosen)]
        return cls(pictures=pictures, **settings).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the pictures.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; a new figure by default.

        Returns
        -------
        MistakesDisplay
            The display itself.

        Raises
        ------
        ImportError
            Where matplotlib is missing.
        """
        import_pyplot(type(self).__name__)
        n = len(self.pictures)
        longest = max((len(str(label)) for label in (*self.y_true, *self.y_pred)), default=0)
        n_columns = min(max(ceil(sqrt(n)), 4), 6 if longest <= 4 else 4, max(n, 1))
        n_rows = ceil(n / n_columns)
        # In inches.
        side, titles, foot = min(8 / n_columns, 2.5), 0.28 if self.probabilities is None else 0.5, 0.3
        height = n_rows * (titles + side * min(self.pictures.shape[1] / self.pictures.shape[2], 3))
        self.ax_ = axes_for(ax, type(self).__name__, (max(side * n_columns, 5), height + foot if n else 1.0))
        self.figure_ = self.ax_.figure
        if not n:
            self.ax_.set_axis_off()
            self.axes_ = np.empty((0, 0), dtype=object)
            self.text_ = self.ax_.text(0.5, 0.5, self.caption, ha="center", va="center", transform=self.ax_.transAxes)
            return self
        place, below = grid_inside(self.ax_, 2, 1, height_ratios=(height, foot))[:, 0]
        below.set_axis_off()
        self.text_ = below.text(0.5, 0.5, self.caption, ha="center", va="center", transform=below.transAxes)
        self.axes_ = grid_inside(place, n_rows, n_columns)
        limits = limits_of(self.pictures)
        for number, panel in enumerate(self.axes_.flat):
            if number < n:
                draw_picture(panel, self.pictures[number], limits)
                self._frame(panel, number)
            else:
                panel.set_axis_off()
        self._write_titles(n_columns)
        return self

    def _frame(self, panel: Any, number: int) -> None:
        wrong = self._is_wrong(number)
        panel.spines[:].set(color=_WRONG if wrong else "0.7", linewidth=3 if wrong else 1)

    def _is_wrong(self, number: int) -> bool:
        return self.probabilities is not None and bool(self.y_true[number] != self.y_pred[number])

    def _write_titles(self, n_columns: int) -> None:
        """Titles of truth and prediction; labels are shortened until a title is no wider than its column."""
        self.figure_.canvas.figure.draw_without_rendering()  # the layout decides how wide a column is
        places = [panel.get_position(original=True) for panel in self.axes_[0]]
        column = places[1].x0 - places[0].x0 if n_columns > 1 else places[0].width
        room = 0.96 * column * self.figure_.bbox.width
        for number, panel in enumerate(self.axes_.flat[: len(self.pictures)]):
            labels = [str(self.y_true[number]), str(self.y_pred[number])]
            length = max(map(len, labels))
            size = "medium" if n_columns <= 4 else "small"
            # A dollar in a label must not begin a formula.
            title = panel.set_title(self._title(number, labels), fontsize=size, parse_math=False)
            while (excess := title.get_window_extent().width - room) > 0 and length > 3:
                letter = (room + excess) / max(map(len, title.get_text().split("\n")))
                length = max(3, length - max(1, int(excess / letter)))
                title.set_text(self._title(number, [cut_middle(label, length) for label in labels]))
            # Smaller letters where short labels are still too wide.
            title.set_fontsize(title.get_fontsize() * min(1, room / title.get_window_extent().width))

    def _title(self, number: int, labels: list[str]) -> str:
        if self.probabilities is None:
            errors = np.abs(self.y_pred - self.y_true)
            decimals = max(0, 1 - floor(log10(errors.max()))) if errors.max() > 0 else 1
            return f"true {self.y_true[number]:.{decimals}f}, said {self.y_pred[number]:.{decimals}f}"
        true, said = self.probabilities[number]
        cross = "× " if self._is_wrong(number) else ""
        return f"true {labels[0]} ({true:.0%})\n{cross}said {labels[1]} ({said:.0%})"


def _choose_labels(estimator: Any, network: Any, X: Any, y: Any, n_images: int, order: str) -> dict[str, Any]:
    """Arguments of a display of a classifier's mistakes, or of its least certain predictions."""
    if network.task_.name == "multilabel":
        raise ValueError("MistakesDisplay takes classifiers of one label an image; this one has several.")
    y = column_or_1d(y)
    probabilities, classes = estimator.predict_proba(X), network.classes_
    said = probabilities.argmax(axis=1)
    certainty, wrong = probabilities.max(axis=1), classes[said] != y
    n_wrong, n = int(wrong.sum()), len(y)
    if order == "wrong":
        rows = np.flatnonzero(wrong)
        rows = rows[np.argsort(-certainty[rows], kind="stable")][:n_images]
        caption = f"wrong: {n_wrong} of {n} images" if n_wrong else f"No mistakes: {n} of {n} images are right"
        caption += f"; these are the {n_images} surest" * (n_wrong > n_images)
    else:
        rows = np.argsort(certainty, kind="stable")[:n_images]
        caption = f"wrong (×): {n_wrong} of {n} images; these are the {len(rows)} least certain"
    # A label that was not in the training data has no probability.
    places = {label: place for place, label in enumerate(classes.tolist())}
    of_truth = [probabilities[row, places[y[row]]] if y[row] in places else 0.0 for row in rows]
    return {
        "y_true": y[rows],
        "y_pred": classes[said[rows]],
        "probabilities": np.column_stack([of_truth, certainty[rows]]),
        "rows": rows,
        "caption": caption,
    }


def _choose_numbers(estimator: Any, network: Any, X: Any, y: Any, n_images: int, order: str) -> dict[str, Any]:
    """Arguments of a display of a regressor's largest errors."""
    if order != "wrong":
        raise ValueError(f"order={order!r} needs probabilities, which a regressor does not have; use order='wrong'.")
    if network.n_outputs_ > 1:
        raise ValueError("MistakesDisplay takes regressors of one number an image; this one has several.")
    y = column_or_1d(y, dtype=np.float64)
    said = np.ravel(estimator.predict(X))
    rows = np.argsort(-np.abs(said - y), kind="stable")[:n_images]
    return {
        "y_true": y[rows],
        "y_pred": said[rows],
        "rows": rows,
        "caption": f"largest errors: {len(rows)} of {len(y)} images",
    }
