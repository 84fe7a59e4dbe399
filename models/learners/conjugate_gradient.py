"""Conjugate gradients."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mesascope.models.decomposition import Decomposition
from mesascope.models.learners.base import IterativeLearner, Sweep
from mesascope.models.learners.steps import at_steps

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression


@dataclass(frozen=True, repr=False)
class ConjugateGradient(IterativeLearner):
    """Conjugate gradients on S w = b from w = 0: of all w in span(b, Sb, …, S^{k−1}b) the one that fits best.

    The polynomial that it applies to b depends on b, so that predictions are not linear in y and there is no filter.
    It ends at least squares of minimum norm, after as many steps as S has different eigenvalues.

    Args:
        n_steps: k.

    Raises:
        ValueError: The number of steps is negative.

    Source: Hestenes and Stiefel (1952).
    """

    family: ClassVar[str] = "conjugate gradient"
    limits: ClassVar[tuple[str, ...]] = ("least squares",)

    def __post_init__(self) -> None:
        if self.n_steps < 0:
            raise ValueError(f"ConjugateGradient(n_steps={self.n_steps}): expected n_steps >= 0")

    @property
    def label(self) -> str:
        """Steps."""
        return f"conjugate gradient k={self.n_steps}"

    @property
    def strength(self) -> dict[str, float]:
        """The number of steps."""
        return {"k": float(self.n_steps)}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """1 … n_dims + 2 steps; two more than suffice in exact arithmetic."""
        top = task.n_dims + 2
        return (Sweep(cls(top), tuple(range(1, top + 1))),)

    def coefficients(
        self, decomposition: Decomposition, steps: Sequence[int]
    ) -> Iterator[Float[Tensor, "batch n_points n_dims"]]:
        """Uᵀw after each of `steps`; S is diagonal here, so that a step is O(n_dims)."""
        return at_steps(_iterates(decomposition.eigenvalues, decomposition.moments), steps)


def _iterates(
    eigenvalues: Float[Tensor, "... n_dims"], moments: Float[Tensor, "... n_dims"]
) -> Iterator[Float[Tensor, "... n_dims"]]:
    w, residual, direction = torch.zeros_like(moments), moments, moments
    while True:
        yield w
        goes_on = unsolved(eigenvalues, moments, residual)
        image, squared = eigenvalues * direction, dot(residual, residual)
        step = ratio(squared, dot(direction, image), goes_on)
        w, residual = w + step * direction, residual - step * image
        direction = residual + ratio(dot(residual, residual), squared, goes_on) * direction


def unsolved(
    eigenvalues: Float[Tensor, "... n_dims"],
    moments: Float[Tensor, "... n_dims"],
    residual: Float[Tensor, "... n_dims"],
) -> Bool[Tensor, "... 1"]:
    """Whether a prefix has a residual b − S w above rounding, in the norm rᵀS⁺r of the error that it leaves.

    Beyond that, steps would be ratios of rounding errors.
    """
    inside = eigenvalues > 0
    inverse = inside / eigenvalues.where(inside, 1.0)
    left, all_ = ((part.square() * inverse).sum(-1, keepdim=True) for part in (residual, moments))
    return left > torch.finfo(left.dtype).eps ** 2 * all_


def dot(a: Float[Tensor, "... n_dims"], b: Float[Tensor, "... n_dims"]) -> Float[Tensor, "... 1"]:
    """aᵀb."""
    return (a * b).sum(-1, keepdim=True)


def ratio(
    numerator: Float[Tensor, "... 1"], denominator: Float[Tensor, "... 1"], where: Bool[Tensor, "... 1"]
) -> Float[Tensor, "... 1"]:
    """numerator/denominator, and zero elsewhere."""
    return (numerator / denominator.where(where, 1.0)).where(where, 0.0)
