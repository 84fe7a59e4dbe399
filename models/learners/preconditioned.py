"""Gradient descent with a preconditioner."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.decomposition import Decomposition
from mesascope.models.errors import MesascopeError
from mesascope.models.learners.base import IterativeLearner, Sweep
from mesascope.models.learners.steps import at_steps

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression

MANY_DIMS = 10
"""Beyond, A has so many entries that only a single step is held against a model."""


@dataclass(frozen=True, repr=False)
class PreconditionedGradientDescent(IterativeLearner):
    """w ← w − A (S w − b)/t from w = 0, with one matrix A for all steps and all prompts.

    No filter of S unless A commutes with it, and the one learner here that knows directions of x in advance: w leaves
    the span of the points.

    Args:
        n_steps: k.
        preconditioner: A by rows; `of` takes a tensor.

    Raises:
        ValueError: The number of steps is negative, or A is not square and finite, or not of the size of x.

    Source: Ahn et al. (2023), section 4.
    """

    family: ClassVar[str] = "preconditioned GD"
    multi_start: ClassVar[bool] = True
    limits: ClassVar[tuple[str, ...]] = ("GD", "averaging", "least squares")
    preconditioner: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        rows = self.preconditioner
        square = len(rows) > 0 and all(len(row) == len(rows) for row in rows)
        if self.n_steps < 0 or not square or not all(math.isfinite(entry) for row in rows for entry in row):
            raise ValueError(
                f"PreconditionedGradientDescent(n_steps={self.n_steps}) with a preconditioner of {len(rows)} rows of "
                f"{sorted({len(row) for row in rows})} entries: expected n_steps >= 0 and a square matrix, all finite"
            )

    @classmethod
    def of(
        cls, n_steps: int, A: Float[Tensor, "n_dims n_dims"] | Sequence[Sequence[float]]
    ) -> "PreconditionedGradientDescent":
        """The learner with a preconditioner given as a matrix."""
        return cls(n_steps, tuple(map(tuple, torch.as_tensor(A, dtype=torch.float64).tolist())))

    @property
    def matrix(self) -> Float[Tensor, "n_dims n_dims"]:
        """A."""
        return torch.tensor(self.preconditioner, dtype=torch.float64)

    @property
    def _step(self) -> float:
        return self.matrix.trace().item() / len(self.preconditioner)

    @property
    def label(self) -> str:
        """Steps, and the step size in the mean over all directions."""
        return f"preconditioned GD k={self.n_steps} tr(A)/d={self._step:.3g}"

    def parameters(self) -> np.ndarray:
        """Every entry of A."""
        return self.matrix.numpy().flatten()

    def with_parameters(self, values: np.ndarray) -> "PreconditionedGradientDescent":
        """The same number of steps with another A."""
        A = values.reshape(len(self.preconditioner), -1)
        return replace(self, preconditioner=tuple(map(tuple, A.tolist())))

    @property
    def strength(self) -> dict[str, float]:
        """τ = k tr(A)/d, as GD's ηk."""
        return {"τ": self.n_steps * self._step}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """One to three steps with A = ηI, A = ηΣ⁻¹ and the optimum of Ahn et al. (2023), where x has one covariance Σ.

        None where no direction of x differs from another in advance: on isotropic x, and with a basis of its own in
        every prompt, the best A is ηI by symmetry, which is gradient descent.
        """
        try:
            covariance = task.inputs.covariance(task.n_dims)
        except MesascopeError:
            return ()
        eye = torch.eye(task.n_dims, dtype=torch.float64)
        if torch.allclose(covariance, covariance[0, 0] * eye, rtol=1e-9, atol=0):
            return ()
        plain = [eta / task.inputs.mean_square * eye for eta in (0.1, 0.3, 1.0)]
        # pinv: x may lie in a subspace.
        whitening = [eta * torch.linalg.pinv(covariance, hermitian=True) for eta in (0.1, 0.3, 1.0)]
        steps = (1, 2, 3) if task.n_dims <= MANY_DIMS else (1,)
        return tuple(Sweep(cls.of(steps[-1], A), steps) for A in [*plain, *whitening, *_optimum(task)])

    def coefficients(
        self, decomposition: Decomposition, steps: Sequence[int]
    ) -> Iterator[Float[Tensor, "batch n_points n_dims"]]:
        """Uᵀw after each of `steps`.

        Raises:
            ValueError: A is not of the size of x.
        """
        n_dims = decomposition.eigenvalues.shape[-1]
        if n_dims != len(self.preconditioner):
            raise ValueError(f"the preconditioner is of size {len(self.preconditioner)} but the prompts have {n_dims=}")
        return at_steps(self._iterates(decomposition), steps)

    def _iterates(self, decomposition: Decomposition) -> Iterator[Float[Tensor, "batch n_points n_dims"]]:
        eigenvalues, basis, scale = decomposition.eigenvalues, decomposition.basis, decomposition.counts.clamp(min=1.0)
        A = self.matrix.to(basis)
        w = torch.zeros_like(eigenvalues)
        while True:
            yield w
            descent = decomposition.weights((decomposition.moments - eigenvalues * w) / scale) @ A.T
            w = w + torch.einsum("btij,bti->btj", basis, descent)


def _optimum(task: "Regression") -> list[Float[Tensor, "n_dims n_dims"]]:
    """The best A of a single step, where there is a closed form."""
    from mesascope.models.optima import optimal_preconditioner  # optima and tasks import the learners
    from mesascope.models.tasks import LinearRegression

    try:
        return [optimal_preconditioner(task)] if isinstance(task, LinearRegression) else []
    except ValueError:
        return []
