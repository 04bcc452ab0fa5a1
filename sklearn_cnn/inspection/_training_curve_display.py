"""TrainingCurveDisplay."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sklearn_cnn.inspection._drawing import COLOURS, axes_for, cut_middle, grid_inside, import_pyplot
from sklearn_cnn.inspection._subject import find_trained

_SCORES = {"valid_acc": "accuracy", "valid_r2": "R²"}
_THIN: dict[str, Any] = {"linewidth": 0.9, "alpha": 0.6}
_THICK: dict[str, Any] = {"linewidth": 2.6}


class TrainingCurveDisplay:
    """Curves of loss, validation score and learning rate over the epochs of a training.

    Use `from_estimator`, which also plots it.

    Read more in the user guide.

    Parameters
    ----------
    train_losses : ndarray of shape (n_runs, n_epochs)
        Mean loss of the training images in each epoch; NaN after the end of a shorter run.
    learning_rates : ndarray of shape (n_runs, n_epochs)
        Learning rate at the end of each epoch.
    validation_losses : ndarray of shape (n_runs, n_epochs) or None, default=None
        Loss of the validation images after each epoch; NaN for runs without validation. None where no run had any.
    validation_scores : ndarray of shape (n_runs, n_epochs) or None, default=None
        Accuracy or R² of the validation images.
    best_epochs : ndarray of shape (n_runs,) or None, default=None
        The best epoch of each run, counted from 1; 0 where it is unknown.
    score_name : str, default="accuracy"
        Name of the score.
    names : list of str or None, default=None
        Names of the runs, for the legend. Without names they are taken as runs of one network, such as the folds of
        a cross-validation: thin lines, with a thick line for their mean.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes that the panels are in, hidden.
    axes_ : ndarray of Axes of shape (3,) or (2,)
        The panels: loss, validation score and learning rate; without validation there is no panel of scores.
    figure_ : matplotlib.figure.Figure
        The figure.
    lines_ : dict of str to list of Line2D
        The lines of ``"train_loss"``, ``"validation_loss"``, ``"validation_score"`` and ``"learning_rate"``: one
        for each run, then the mean where it is drawn.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_cnn import CNNClassifier
    >>> from sklearn_cnn.inspection import TrainingCurveDisplay
    >>> X, y = load_digits().images, load_digits().target
    >>> clf = CNNClassifier((8, 16), max_epochs=5, early_stopping=True, random_state=0).fit(X, y)
    >>> display = TrainingCurveDisplay.from_estimator(clf)
    >>> display.train_losses.shape, display.axes_.shape
    ((1, 5), (3,))
    """

    def __init__(
        self,
        *,
        train_losses: NDArray[np.float64],
        learning_rates: NDArray[np.float64],
        validation_losses: NDArray[np.float64] | None = None,
        validation_scores: NDArray[np.float64] | None = None,
        best_epochs: NDArray[np.int64] | None = None,
        score_name: str = "accuracy",
        names: list[str] | None = None,
    ) -> None:
        self.train_losses = train_losses
        self.learning_rates = learning_rates
        self.validation_losses = validation_losses
        self.validation_scores = validation_scores
        self.best_epochs = best_epochs
        self.score_name = score_name
        self.names = names

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw the training of fitted estimators.

        Parameters
        ----------
        estimator : estimator, list, or dict
            A fitted classifier or regressor of this package, a pipeline that ends in one, or a search, whose best
            estimator is drawn. Several of them as a list, or as a dict with their names as keys. Or the result of
            ``cross_validate(..., return_estimator=True)``, drawn as a thin line for each fold and a thick line for
            their mean.
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; a new figure by default. In one made with ``layout="constrained"`` nothing overlaps.

        Returns
        -------
        TrainingCurveDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            Where an estimator is of another kind, or was not trained on targets.
        NotFittedError
            Where an estimator is not fitted.
        ValueError
            Where there is no estimator, or both classifiers and regressors.
        ImportError
            Where matplotlib is missing.
        """
        names, estimators = _runs(estimator)
        fitted = [find_trained(one, cls.__name__) for one in estimators]
        kinds = {one.task_.score_name for one in fitted}
        if len(kinds) > 1:
            raise ValueError("losses of classifiers and regressors cannot be compared; draw them in separate displays.")
        losses, scores = [one.validation_loss_curve_ for one in fitted], [one.validation_scores_ for one in fitted]
        return cls(
            train_losses=_table([one.loss_curve_ for one in fitted]),
            learning_rates=_table([[record["lr"] for record in one.history_] for one in fitted]),
            validation_losses=_table(losses) if any(losses) else None,
            validation_scores=_table(scores) if any(scores) else None,
            best_epochs=np.array([one.best_epoch_ or 0 for one in fitted]),
            score_name=_SCORES[kinds.pop()],
            names=names,
        ).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; a new figure by default. In one made with ``layout="constrained"`` nothing overlaps.

        Returns
        -------
        TrainingCurveDisplay
            The display itself.

        Raises
        ------
        ImportError
            Where matplotlib is missing.
        """
        pyplot = import_pyplot(type(self).__name__)
        validated = self.validation_scores is not None
        self.ax_ = axes_for(ax, type(self).__name__, (8, 7 if validated else 5))
        self.figure_ = self.ax_.figure
        heights = (3, 3, 1.5) if validated else (3, 1.5)
        self.axes_ = grid_inside(self.ax_, len(heights), 1, height_ratios=heights)[:, 0]
        loss, rate = self.axes_[0], self.axes_[-1]
        loss.set_ylabel("loss")
        rate.set_ylabel("learning\nrate")
        training, validation, style = self._looks(pyplot)
        self.lines_ = {"train_loss": self._draw(loss, self.train_losses, training)}
        if self.validation_losses is not None:
            self.lines_["validation_loss"] = self._draw(loss, self.validation_losses, validation, style, best=True)
        if self.validation_scores is not None:
            score = self.axes_[1]
            score.set_ylabel(f"validation\n{self.score_name}")
            self.lines_["validation_score"] = self._draw(score, self.validation_scores, validation, style, best=True)
        colours = ["0.3"] * len(training) if self.names is None else training
        self.lines_["learning_rate"] = self._draw(rate, self.learning_rates, colours)
        peaks = np.nanmax(self.learning_rates, axis=1)
        if peaks.max() >= 10 * peaks.min() > 0:
            rate.set_yscale("log")  # on a linear axis the smaller ones would look like zero
        else:
            rate.set_ylim(0, 1.1 * peaks.max() or 1)
        self._finish_panels(pyplot)
        return self

    def _looks(self, pyplot: Any) -> tuple[list[Any], list[Any], str]:
        """Colours of the runs, in training and in validation, and the style of validation lines."""
        n = len(self.train_losses)
        if self.names is None:
            return [COLOURS[0]] * n, [COLOURS[1]] * n, "-"
        colours = COLOURS[:n] if n <= len(COLOURS) else pyplot.get_cmap("viridis")(np.linspace(0, 0.9, n))
        return list(colours), list(colours), "--"

    def _draw(
        self, panel: Any, curves: NDArray[np.float64], colours: list[Any], style: str = "-", *, best: bool = False
    ) -> list[Any]:
        """Draw a line for each run and, of runs of one network, their mean; and circles at the best epochs."""
        epochs = np.arange(1, curves.shape[1] + 1)
        of_one = self.names is None and len(curves) > 1
        look = _THIN if of_one else {"linewidth": 1.8}
        size = 4 if of_one else 7
        lines = []
        for run, (curve, colour) in enumerate(zip(curves, colours, strict=True)):
            dot = "." if np.isfinite(curve).sum() == 1 else ""  # a line of one point is invisible
            lines += panel.plot(epochs, curve, color=colour, linestyle=style, marker=dot, **look)
            epoch = 0 if self.best_epochs is None else self.best_epochs[run]
            if best and epoch:
                panel.plot(epoch, curve[epoch - 1], "o", markersize=size, color=colour, markerfacecolor="white")
        if of_one:
            # The mean ends with the shortest run: after it, the mean of the others would jump.
            lines += panel.plot(epochs, curves.mean(axis=0), color=colours[0], linestyle=style, **_THICK)
        return lines

    def _finish_panels(self, pyplot: Any) -> None:
        """Axis of epochs, grid and legend."""
        n_epochs = self.train_losses.shape[1]
        margin = min(0.03 * n_epochs, 0.9)  # so small that the axis shows no epoch 0
        last = self.axes_[-1]
        for panel in self.axes_[:-1]:
            panel.sharex(last)
            panel.tick_params(labelbottom=False)
        for panel in self.axes_:
            panel.grid(color="0.9")
            panel.set_axisbelow(True)
            panel.spines[["top", "right"]].set_visible(False)
            if panel.get_yscale() == "linear":
                panel.yaxis.set_major_locator(pyplot.MaxNLocator(5))
        last.xaxis.set_major_locator(pyplot.MaxNLocator(integer=True, min_n_ticks=1))
        last.set(xlabel="epoch", xlim=(1 - margin, n_epochs + margin))
        self._add_legend(pyplot)

    def _add_legend(self, pyplot: Any) -> None:
        """Add the legend above the panels, where it hides no line."""
        training, validation, style = self._looks(pyplot)
        validated, best = self.validation_losses is not None, self.best_epochs
        entries: list[tuple[str, dict[str, Any]]] = []
        if self.names is not None:
            entries += [(name, {"color": colour}) for name, colour in zip(self.names, training, strict=True)]
            training, validation = ["black"], ["black"]
        if self.names is None or validated:
            entries.append(("training", {"color": training[0]}))
        if validated:
            entries.append(("validation", {"color": validation[0], "linestyle": style}))
        if self.names is None and len(self.train_losses) > 1:
            entries.append((f"each of {len(self.train_losses)} runs", {"color": "black", **_THIN}))
            entries.append(("mean", {"color": "black", **_THICK}))
        if validated and best is not None and best.any():
            label = f"best epoch: {best[0]}" if len(best) == 1 else "best epoch"
            entries.append((label, {"color": validation[0], "marker": "o", "linestyle": "", "markerfacecolor": "w"}))
        # Letters that fit into the width, roughly; the line before a label takes the place of `sample` letters.
        n_letters = int(self.axes_[0].bbox.width / self.figure_.dpi * 72 / (0.6 * pyplot.rcParams["font.size"]))
        longest, sample = max(len(label) for label, _ in entries), 6
        self.axes_[0].legend(
            handles=[
                pyplot.Line2D([], [], label=cut_middle(label, max(n_letters - sample, 3)), **look)
                for label, look in entries
            ],
            ncols=max(1, min(len(entries), n_letters // (longest + sample))),
            loc="lower left",
            bbox_to_anchor=(0, 1.02),
            borderaxespad=0,
            handlelength=1.8,
            columnspacing=1.2,
            frameon=False,
        )


def _runs(estimator: Any) -> tuple[list[str] | None, list[Any]]:
    """Names of runs, or None where they are runs of one network, and their estimators."""
    if isinstance(estimator, dict):
        if isinstance(estimator.get("estimator"), list | tuple | np.ndarray):
            return None, list(estimator["estimator"])
        if "fit_time" in estimator:
            raise ValueError("cross_validate kept no estimators; call it with return_estimator=True.")
        names, estimators = [str(name) for name in estimator], list(estimator.values())
    elif isinstance(estimator, list | tuple):
        names, estimators = [f"estimator {number}" for number in range(1, len(estimator) + 1)], list(estimator)
    else:
        return None, [estimator]
    if not estimators:
        raise ValueError("there are no estimators to draw.")
    return names, estimators


def _table(curves: list[Any]) -> NDArray[np.float64]:
    """Curves as rows, filled up with NaN; a curve or a value may be None."""
    width = max(len(curve) for curve in curves if curve is not None)
    table = np.full((len(curves), width), np.nan)
    for row, curve in zip(table, curves, strict=True):
        if curve is not None:
            row[: len(curve)] = np.array(curve, dtype=np.float64)
    return table
