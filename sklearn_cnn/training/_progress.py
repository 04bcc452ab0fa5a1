"""A live bar for one fit."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm.auto import tqdm  # skorch requires tqdm, so it is always there

T = TypeVar("T")


class Progress:
    """Counts batches and shows loss, validation score and time left.

    Parameters
    ----------
    shown : bool
        Whether there is a bar at all.
    n_epochs, n_batches : int
        Length of the fit.
    """

    def __init__(self, shown: bool, n_epochs: int, n_batches: int) -> None:
        self._bar = tqdm(total=n_epochs * n_batches, unit="batch", disable=not shown, leave=True)
        self._n_epochs = n_epochs

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """Pass batches on and count them."""
        for batch in batches:
            yield batch
            self._bar.update()

    def begin_epoch(self, number: int) -> None:
        """Show which epoch is running."""
        self._bar.set_description(f"epoch {number}/{self._n_epochs}", refresh=False)

    def end_epoch(self, record: dict[str, Any], score_name: str) -> None:
        """Show the figures of a finished epoch."""
        shown = {
            "loss": record["train_loss"],
            "val_loss": record.get("valid_loss"),
            "val_score": record.get(score_name),
        }
        figures = {name: f"{value:.4f}" for name, value in shown.items() if value is not None and math.isfinite(value)}
        self._bar.set_postfix(figures, refresh=False)

    def close(self) -> None:
        """Leave the bar as it stands; a fit that stopped early shows how far it came."""
        self._bar.refresh()
        self._bar.close()
