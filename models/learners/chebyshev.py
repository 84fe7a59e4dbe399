"""The Chebyshev semi-iteration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import FilterLearner, Sweep
from mesascope.models.learners.steps import at_steps

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression


@dataclass(frozen=True, repr=False)
class Chebyshev(FilterLearner):
    """The k steps whose residual 1 − g is smallest, at its largest, between the extreme eigenvalues of the prefix.

    1 − g(λ) = T_k((a + b − 2λ)/(b − a)) / T_k((a + b)/(b − a)) with T_k Chebyshev's polynomial, b the largest and a the
    smallest eigenvalue of S_t that is not zero: they are taken as known, where a network would have to estimate them.
    The first step is a gradient step of size 2/(a + b).

    Args:
        n_steps: k.

    Raises:
        ValueError: The number of steps is negative.

    Source: Golub and Varga (1961), in their three-term form.
    """

    family: ClassVar[str] = "Chebyshev"
    limits: ClassVar[tuple[str, ...]] = ("least squares",)

    def __post_init__(self) -> None:
        if self.n_steps < 0:
            raise ValueError(f"Chebyshev(n_steps={self.n_steps}): expected n_steps >= 0")

    @property
    def label(self) -> str:
        """Steps."""
        return f"Chebyshev k={self.n_steps}"

    @property
    def strength(self) -> dict[str, float]:
        """The number of steps."""
        return {"k": float(self.n_steps)}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """1 … 24 steps."""
        return (Sweep(cls(24), tuple(range(1, 25))),)

    def multiplier(
        self, eigenvalues: Float[Tensor, "... n_dims"], counts: Float[Tensor, "..."], steps: Sequence[int]
    ) -> list[Float[Tensor, "... n_dims"]]:
        """m(λ) by the recursion of w itself.

        It depends on the whole spectrum, so the last axis must hold all of it.
        """
        return list(at_steps(self._iterates(eigenvalues), steps))

    def _iterates(self, eigenvalues: Float[Tensor, "... n_dims"]) -> Iterator[Float[Tensor, "... n_dims"]]:
        b = eigenvalues.amax(-1, keepdim=True)
        a = eigenvalues.where(eigenvalues > 0, torch.inf).amin(-1, keepdim=True)
        step = 2 / (a + b)  # no points, no step: a = ∞
        spread = ((b - a).clamp(min=0) * step / 2).square()
        # T_{−1} = T_1, and T_1 is one step: so the recursion needs no first step of its own.
        before, m, omega = step.expand_as(eigenvalues), torch.zeros_like(eigenvalues), torch.full_like(step, 2.0)
        while True:
            yield m
            before, m = m, before + omega * (m - before + step * (1 - eigenvalues * m))
            omega = 1 / (1 - spread * omega / 4)
