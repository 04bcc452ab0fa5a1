"""Errors of this package that are no plain ValueError or TypeError."""


class NonFiniteLossError(FloatingPointError):
    """The training loss became NaN or infinite.

    The estimator is left as it was before the fit.

    Parameters
    ----------
    epoch, batch : int
        Where it happened, both counted from 1.
    lr : float
        The learning rate of that step.
    loss : float
        The loss: NaN or an infinity.
    """

    def __init__(self, epoch: int, batch: int, lr: float, loss: float) -> None:
        super().__init__(epoch, batch, lr, loss)
        self.epoch, self.batch, self.lr, self.loss = epoch, batch, lr, loss

    def __str__(self) -> str:
        return (
            f"the training loss is {self.loss} in epoch {self.epoch}, batch {self.batch}, at learning rate "
            f"{self.lr:.3g}; use a smaller lr, or scale the pixels (standardize=True does)"
        )
