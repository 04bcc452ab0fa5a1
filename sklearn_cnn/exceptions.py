"""Errors of this package's own types."""


class NonFiniteLossError(FloatingPointError):
    """A loss or a weight became NaN or infinite in training.

    The estimator is left as it was before the fit.

    Parameters
    ----------
    epoch, batch : int
        Where it happened, both counted from 1.
    lr : float
        The learning rate of that step.
    loss : float
        The value: NaN or an infinity.
    what : str, default="training loss"
        Which quantity has this value.
    """

    def __init__(self, epoch: int, batch: int, lr: float, loss: float, what: str = "training loss") -> None:
        super().__init__(epoch, batch, lr, loss, what)
        self.epoch, self.batch, self.lr, self.loss, self.what = epoch, batch, lr, loss, what

    def __str__(self) -> str:
        return (
            f"the {self.what} is {self.loss} in epoch {self.epoch}, batch {self.batch}, at learning rate "
            f"{self.lr:.3g}; use a smaller lr. Very large sample weights, or very large pixels with "
            f"standardize=False, have the same effect."
        )


class ModelFileError(ValueError):
    """A file is not a saved model or checkpoint that can be read.

    It is damaged, forged, of another kind, or written by a newer version; the message says which. No code from the
    file has been run.
    """
