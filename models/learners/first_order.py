"""Gradient descent on the squared loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import FilterLearner, Sweep

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression

STEPS = (*range(1, 17), *(base * 2**j for j in range(1, 9) for base in (12, 16)))
"""Step counts of GD up to 4096 that a model is held against: every one to 16, then two to an octave."""


@dataclass(frozen=True, repr=False)
class GradientDescent(FilterLearner):
    """w ← w − η (S w − b) from w = 0; g(λ) = 1 − (1−ηλ)^k.

    With loss="mean" (the default) it steps on S/t and b/t, with loss="sum" on S and b, as Fu et al. (2024) publish it.
    Nothing stops a step size above 2/λ_max: the iterates then grow, as they would.

    Args:
        n_steps: k.
        eta: η.
        loss: Normalisation of the squared loss.

    Source: Fu et al. (2024), section 2.2 and its code.
    """

    family: ClassVar[str] = "GD"
    scalars: ClassVar[tuple[str, ...]] = ("eta",)
    limits: ClassVar[tuple[str, ...]] = ("averaging", "least squares")
    any_steps: ClassVar[bool] = True
    eta: float
    loss: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        if self.n_steps < 0 or not self.eta > 0 or self.loss not in ("mean", "sum"):
            raise ValueError(
                f"GradientDescent(n_steps={self.n_steps}, eta={self.eta}, loss={self.loss!r}): expected n_steps >= 0, "
                "eta > 0 and loss 'mean' or 'sum'"
            )

    @property
    def label(self) -> str:
        """Steps and step size."""
        return f"GD k={self.n_steps} η={self.eta:.3g} ({self.loss} loss)"

    @property
    def strength(self) -> dict[str, float]:
        """τ = ηk: a smaller step taken more often predicts nearly the same."""
        return {"τ": self.eta * self.n_steps}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """`STEPS` on the sum loss (as Fu et al., 2024) with four step sizes and on the mean loss with eleven."""
        unit, top = 1 / task.inputs.mean_square, STEPS[-1]
        mean = [cls(top, unit * eta, "mean") for eta in torch.logspace(-2, 0.5, 11).tolist()]
        summed = [cls(top, unit * eta, "sum") for eta in (0.001, 0.003, 0.01, 0.03)]
        return tuple(Sweep(learner, STEPS) for learner in [*mean, *summed])

    def multiplier(
        self, eigenvalues: Float[Tensor, "... n_dims"], counts: Float[Tensor, "..."], steps: Sequence[int]
    ) -> list[Float[Tensor, "... n_dims"]]:
        """m(λ) = (1 − (1−ηλ)^k)/λ, continued by kη at λ = 0."""
        scale = counts.clamp(min=1.0) if self.loss == "mean" else torch.ones_like(counts)
        product = self.eta * eigenvalues / scale
        small, zero = product < 0.5, product == 0
        # expm1 and log1p keep the digits that 1 − (1−ηλ)^k loses for small ηλ; above 1 the base is negative.
        log_base = torch.log1p(-product.where(small, 0.0))
        safe = product.where(~zero, 1.0)
        out = []
        for k in steps:
            recovered = torch.where(small, -torch.expm1(k * log_base), 1 - (1 - product) ** k)
            out.append(torch.where(zero, float(k), recovered / safe) * (self.eta / scale))
        return out
