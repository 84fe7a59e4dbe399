"""Gradient descent on the squared loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import FilterLearner


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
    scalar: ClassVar[str | None] = "eta"
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
