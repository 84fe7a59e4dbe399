"""BFGS and L-BFGS with exact line search: conjugate gradients in other words."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.decomposition import Decomposition
from mesascope.models.learners.base import IterativeLearner
from mesascope.models.learners.conjugate_gradient import ConjugateGradient, dot, ratio, unsolved
from mesascope.models.learners.steps import at_steps

Vector = Float[Tensor, "... n_dims"]
Scalar = Float[Tensor, "... 1"]


class InverseHessian(ABC):
    """H ≈ S⁺, built from steps s, the changes y = S s of the gradient and ρ = 1/(yᵀs); ρ = 0 leaves it as it is."""

    @abstractmethod
    def times(self, vector: Vector) -> Vector:
        """H v."""

    @abstractmethod
    def update(self, s: Vector, y: Vector, rho: Scalar) -> None:
        """H ← (I − ρ s yᵀ) H (I − ρ y sᵀ) + ρ s sᵀ."""


class DenseInverse(InverseHessian):
    """All of H, from H_0 = I."""

    def __init__(self, moments: Vector):
        self.H = torch.eye(moments.shape[-1]).to(moments).expand(*moments.shape, -1)

    def times(self, vector: Vector) -> Vector:
        """H v."""
        return (self.H * vector[..., None, :]).sum(-1)

    def update(self, s: Vector, y: Vector, rho: Scalar) -> None:
        """The product, multiplied out."""
        Hy = self.times(y)
        cross = s[..., :, None] * Hy[..., None, :]
        both = s[..., :, None] * s[..., None, :]
        self.H = self.H - rho[..., None] * (cross + cross.mT) + (rho * (1 + rho * dot(y, Hy)))[..., None] * both


class LimitedInverse(InverseHessian):
    """H as I and the last few updates, applied by the two-loop recursion.

    Args:
        memory: How many.
    """

    def __init__(self, memory: int):
        self.updates: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=memory)

    def times(self, vector: Vector) -> Vector:
        """H v, O(memory · n_dims)."""
        undone = []
        for s, y, rho in reversed(self.updates):
            undone.append(rho * dot(s, vector))
            vector = vector - undone[-1] * y
        for (s, y, rho), along in zip(self.updates, reversed(undone), strict=True):
            vector = vector + (along - rho * dot(y, vector)) * s
        return vector

    def update(self, s: Vector, y: Vector, rho: Scalar) -> None:
        """Remember the latest, forget the oldest."""
        self.updates.append((s, y, rho))


class QuasiNewton(IterativeLearner):
    """w ← w − a H (S w − b) with a by exact line search, and H from the steps so far.

    On a quadratic loss its iterates are those of conjugate gradients (Nazareth, 1979), so that it belongs to their
    family, and has no sweeps: they would only repeat the ones there.
    """

    family: ClassVar[str] = ConjugateGradient.family
    limits: ClassVar[tuple[str, ...]] = ConjugateGradient.limits

    @abstractmethod
    def start(self, moments: Vector) -> InverseHessian:
        """H_0 = I."""

    @property
    def strength(self) -> dict[str, float]:
        """The number of steps."""
        return {"k": float(self.n_steps)}

    def coefficients(
        self, decomposition: Decomposition, steps: Sequence[int]
    ) -> Iterator[Float[Tensor, "batch n_points n_dims"]]:
        """Uᵀw after each of `steps`; H_0 = I is the same in every basis."""
        return at_steps(self._iterates(decomposition.eigenvalues, decomposition.moments), steps)

    def _iterates(self, eigenvalues: Vector, moments: Vector) -> Iterator[Vector]:
        w, gradient, H = torch.zeros_like(moments), -moments, self.start(moments)
        while True:
            yield w
            goes_on = unsolved(eigenvalues, moments, gradient)
            direction = -H.times(gradient)
            curvature = dot(direction, eigenvalues * direction)
            s = ratio(-dot(gradient, direction), curvature, goes_on) * direction
            y = eigenvalues * s
            w, gradient = w + s, gradient + y
            H.update(s, y, ratio(torch.ones_like(curvature), dot(y, s), goes_on))


@dataclass(frozen=True, repr=False)
class BFGS(QuasiNewton):
    """Broyden-Fletcher-Goldfarb-Shanno from H_0 = I: H ← (I − ρ s yᵀ) H (I − ρ y sᵀ) + ρ s sᵀ.

    With its exact line search the same iterates as `ConjugateGradient`, and S⁺ on the span of the points once there
    were as many steps as dimensions in it.

    Args:
        n_steps: k.

    Raises:
        ValueError: The number of steps is negative.

    Source: Nocedal and Wright (2006), eq. 6.17; departures: exact line search.
    """

    def __post_init__(self) -> None:
        if self.n_steps < 0:
            raise ValueError(f"BFGS(n_steps={self.n_steps}): expected n_steps >= 0")

    @property
    def label(self) -> str:
        """Steps."""
        return f"BFGS k={self.n_steps}"

    def start(self, moments: Vector) -> DenseInverse:
        """The whole matrix, for every prefix."""
        return DenseInverse(moments)


@dataclass(frozen=True, repr=False)
class LBFGS(QuasiNewton):
    """BFGS that remembers only the last few steps, by the two-loop recursion.

    With its exact line search the same iterates as `ConjugateGradient`, whatever the memory: gradients are orthogonal
    to all earlier steps, so that the forgotten ones would change nothing.

    Args:
        n_steps: k.
        memory: Steps that it remembers.

    Raises:
        ValueError: The number of steps is negative, or it remembers nothing.

    Source: Nocedal and Wright (2006), algorithm 7.4; departures: exact line search, and H_0 = I instead of a multiple.
    """

    memory: int = 5

    def __post_init__(self) -> None:
        if self.n_steps < 0 or self.memory < 1:
            raise ValueError(
                f"LBFGS(n_steps={self.n_steps}, memory={self.memory}): expected n_steps >= 0 and memory >= 1"
            )

    @property
    def label(self) -> str:
        """Steps and memory."""
        return f"L-BFGS k={self.n_steps} memory {self.memory}"

    def start(self, moments: Vector) -> LimitedInverse:
        """No updates yet."""
        return LimitedInverse(self.memory)
