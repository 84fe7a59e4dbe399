"""One pass of gradient steps over the points, in their order."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import Learner, Sweep
from mesascope.models.prompts import Prompts

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression


@dataclass(frozen=True, repr=False)
class OnlineGradientDescent(Learner):
    """w ← w + η (y_i − w·x_i) x_i, once for every point and in their order, from w = 0 (least mean squares).

    Unlike all learners on S it weighs later points more, so the order of the points matters. It forgets along x at the
    rate η|x|², and diverges where that is above 2 for long.

    Args:
        eta: η, on the gradient of ½(y_i − w·x_i)²; half of it if the loss is written without the ½.

    Raises:
        ValueError: The step size is not positive.

    Source: Widrow and Hoff (1960); Fu et al. (2024) and its code, where LSTMs resemble it; departure: from w = 0, where
    their code starts at a random w in [0, 1]^n_dims.
    """

    family: ClassVar[str] = "online GD"
    scalars: ClassVar[tuple[str, ...]] = ("eta",)
    eta: float

    def __post_init__(self) -> None:
        if not self.eta > 0:
            raise ValueError(f"OnlineGradientDescent(eta={self.eta}): expected eta > 0")

    @property
    def label(self) -> str:
        """The step size."""
        return f"online GD η={self.eta:.3g}"

    @property
    def strength(self) -> dict[str, float]:
        """The step size."""
        return {"η": self.eta}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """Twelve step sizes, in units of 1/E|x|²."""
        unit = 1 / (task.n_dims * task.inputs.mean_square)
        return tuple(Sweep(cls(unit * eta)) for eta in torch.logspace(-1.5, 0.3, 12).tolist())

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Predictions at every point, float64."""
        return (self.weights(prompts) * prompts.xs).sum(-1)

    def weights(self, prompts: Prompts) -> Float[Tensor, "batch n_points n_dims"]:
        """The weight vector at every point, float64."""
        xs, ys = prompts.xs.double(), prompts.ys.double()
        w = torch.zeros_like(xs[:, 0])
        out = []
        for x, y in zip(xs.unbind(1), ys.unbind(1), strict=True):
            out.append(w)
            w = w + self.eta * (y - (w * x).sum(-1))[:, None] * x
        return torch.stack(out, dim=1)
