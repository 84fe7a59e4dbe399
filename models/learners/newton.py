"""Iterative Newton (Newton-Schulz) inversion of the Gram matrix."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.errors import nearest
from mesascope.models.learners.base import FilterLearner, Sweep

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression

ALPHAS: dict[str, Callable[[Tensor], Tensor]] = {
    "frobenius": lambda eigenvalues: 1 / (eigenvalues**4).sum(-1, keepdim=True).sqrt(),
    "twice_frobenius": lambda eigenvalues: 2 / (eigenvalues**4).sum(-1, keepdim=True).sqrt(),
    "twice_spectral": lambda eigenvalues: 2 / (eigenvalues**2).amax(-1, keepdim=True),
}
"""The starts in circulation: 1/‖SSᵀ‖_F (current code), 2/‖SSᵀ‖_F (published figures), 2/‖SSᵀ‖₂ (the paper)."""


@dataclass(frozen=True, repr=False)
class Newton(FilterLearner):
    """M_0 = αS, M ← 2M − MSM, w = M b; g(λ) = 1 − (1−αλ²)^(2^k).

    With alpha="twice_spectral" the top eigendirection is lost for ever (λ m_0 = 2 → 0), as published.

    Args:
        n_steps: k.
        alpha: Which α, see `ALPHAS`, or a number for all prompts, with which it diverges where αλ_max² > 2.

    Source: Fu et al. (2024), eq. 4; departure: α defaults to its code's 1/‖SSᵀ‖_F.
    """

    family: ClassVar[str] = "Newton"
    limits: ClassVar[tuple[str, ...]] = ("least squares",)
    alpha: str | float = "frobenius"

    def __post_init__(self) -> None:
        named = isinstance(self.alpha, str)
        if self.n_steps < 0 or not (self.alpha in ALPHAS if named else 0 < float(self.alpha) < math.inf):
            raise ValueError(
                f"Newton(n_steps={self.n_steps}, alpha={self.alpha!r}): expected n_steps >= 0 and a known alpha or a "
                f"finite one > 0{nearest(str(self.alpha), ALPHAS)}"
            )

    @property
    def label(self) -> str:
        """Steps and start."""
        start = self.alpha if isinstance(self.alpha, str) else f"{self.alpha:.3g}"
        return f"Newton k={self.n_steps}" + ("" if start == "frobenius" else f" (α {start})")

    @property
    def strength(self) -> dict[str, float]:
        """The number of steps."""
        return {"k": float(self.n_steps)}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """1 … 23 steps with every α."""
        return tuple(Sweep(cls(23, alpha), tuple(range(1, 24))) for alpha in ALPHAS)

    def multiplier(
        self, eigenvalues: Float[Tensor, "... n_dims"], counts: Float[Tensor, "..."], steps: Sequence[int]
    ) -> list[Float[Tensor, "... n_dims"]]:
        """m_k = αλ Π_{j<k} (1 + e_j) with e_j = (1−αλ²)^(2^j): no cancellation, unlike the matrix iteration.

        A named α depends on the whole spectrum, so the last axis must hold all of it.
        """
        alpha: Tensor | float = (
            torch.nan_to_num(ALPHAS[self.alpha](eigenvalues), posinf=0.0)  # no points, no step
            if isinstance(self.alpha, str)
            else self.alpha
        )
        m, residual = alpha * eigenvalues, 1 - alpha * eigenvalues.square()
        out, done = [], 0
        for k in steps:
            for _ in range(k - done):
                m, residual = m * (1 + residual), residual.square()
            done = k
            out.append(m)
        return out
