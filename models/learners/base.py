"""What every reference learner is: predictions at every prefix, for every number of steps."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.decomposition import Decomposition
from mesascope.models.prompts import Prompts

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression


L = TypeVar("L", bound="Learner")


class Learner(ABC):
    """A learning algorithm that predicts y_t from the points before t, and zero from none.

    Anything with `predict(prompts)` can be attached to as if it were a model.
    """

    family: ClassVar[str]
    """Name of the family, as reports write it."""
    batched: ClassVar[bool] = True
    """Whether it predicts all prompts at once, rather than one prefix after the other."""
    scalars: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that may take any positive value, such as a step size."""
    multi_start: ClassVar[bool] = False
    """Whether its sweeps are starts, each to be refined: the optimum nearest to the best of them may be a local one."""
    limits: ClassVar[tuple[str, ...]] = ()
    """Families that some choice of scalars and steps makes it, exactly or in the limit: the simpler name is theirs."""

    @abstractmethod
    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Predictions at every point, float64."""

    def predict_at(self, prompts: Prompts, points: Sequence[int]) -> Float[Tensor, "batch n_chosen"]:
        """Predictions at some points, float64; cheaper than all of them where the learner knows how."""
        return self.predict(prompts)[:, list(points)]

    @property
    @abstractmethod
    def label(self) -> str:
        """The learner with its scalars, as reports write it."""

    def parameters(self) -> np.ndarray:
        """Its free scalars as an unbounded vector: the logarithms of `scalars` unless the learner says otherwise."""
        return np.log([float(getattr(self, name)) for name in self.scalars])

    def with_parameters(self: L, values: np.ndarray) -> L:
        """The same learner with other free scalars."""
        positive = np.exp(np.clip(values, -700, 700))  # beyond, floats are 0 or ∞
        changed: dict[str, Any] = dict(zip(self.scalars, positive.tolist(), strict=True))
        return replace(self, **changed)  # type: ignore[type-var]  # one with scalars is a dataclass

    @property
    def strength(self) -> dict[str, float]:
        """What predictions can identify of its scalars and steps, by symbol: of η and k, only τ = ηk."""
        return {name: float(getattr(self, name)) for name in self.scalars}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple["Sweep", ...]:
        """The members of its family to hold a model on this task against; none unless the learner says so.

        Step sizes and penalties are in units of E x_i², so that they mean the same for every task.
        """
        return ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}>"


@dataclass(frozen=True)
class Sweep:
    """One learner at several step counts, computed together; one without steps has the single count 0."""

    learner: Learner
    steps: tuple[int, ...] = (0,)

    def members(self) -> Iterator[Learner]:
        """The learner at each step count."""
        learner = self.learner
        if not isinstance(learner, IterativeLearner):
            return iter((learner,))
        return (learner if k == learner.n_steps else replace(learner, n_steps=k) for k in self.steps)

    def predict(
        self, prompts: Prompts, points: Sequence[int] | None = None
    ) -> Float[Tensor, "n_members batch n_chosen"]:
        """Each member's predictions at some points (default: all)."""
        chosen = range(prompts.n_points) if points is None else points
        if isinstance(self.learner, IterativeLearner):
            return self.learner.path(prompts, self.steps, chosen)
        return self.learner.predict_at(prompts, chosen)[None]


@dataclass(frozen=True, repr=False)
class IterativeLearner(Learner):
    """A learner of a weight vector, step by step, that sees the points only through S_t and b_t.

    It works in the eigenbasis of S_t, where one shared decomposition makes every step O(n_dims). Subclasses give
    `coefficients`; predictions, paths and weights follow.
    """

    any_steps: ClassVar[bool] = False
    """Whether any number of steps may be tried with the same scalars; not where each step has its own."""

    max_steps: ClassVar[int] = 10_000
    """The most that are tried."""

    n_steps: int
    """The step count that `predict` uses; closed forms have 0."""

    @abstractmethod
    def coefficients(
        self, decomposition: Decomposition, steps: Sequence[int]
    ) -> Iterator[Float[Tensor, "batch n_points n_dims"]]:
        """Uᵀw after each of `steps`, one after the other, so that no path need be held.

        Args:
            decomposition: S_t = U diag(λ) Uᵀ and Uᵀb_t of every prefix.
            steps: Step counts, ascending.
        """

    def path(
        self, prompts: Prompts, steps: Sequence[int] | None = None, points: Sequence[int] | None = None
    ) -> Float[Tensor, "n_steps batch n_chosen"]:
        """Predictions after each of `steps` (default: 0, 1, …, n_steps) at some points (default: all).

        Raises:
            ValueError: The steps do not ascend, or one is negative.
        """
        d = prompts.decomposition if points is None else prompts.prefixes(points)
        chosen = range(self.n_steps + 1) if steps is None else steps
        if list(chosen) != sorted(chosen) or min(chosen, default=0) < 0:
            raise ValueError(f"steps={list(chosen)}: expected ascending step counts, none negative")
        return torch.stack([d.predict(coefficients) for coefficients in self.coefficients(d, chosen)])

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Predictions at every point after `n_steps`, float64."""
        return self.path(prompts, [self.n_steps])[0]

    def predict_at(self, prompts: Prompts, points: Sequence[int]) -> Float[Tensor, "batch n_chosen"]:
        """Predictions at some points after `n_steps`, float64."""
        return self.path(prompts, [self.n_steps], points)[0]

    def weights(self, prompts: Prompts) -> Float[Tensor, "batch n_points n_dims"]:
        """The weight vector at every point after `n_steps`, float64."""
        d = prompts.decomposition
        (coefficients,) = self.coefficients(d, [self.n_steps])
        return d.weights(coefficients)


@dataclass(frozen=True, repr=False)
class FilterLearner(IterativeLearner):
    """A learner whose weights are m(S_t) b_t for some function m, applied to the eigenvalues of S_t.

    Subclasses give `multiplier`; `response` follows too.
    """

    @abstractmethod
    def multiplier(
        self, eigenvalues: Float[Tensor, "... n_dims"], counts: Float[Tensor, "..."], steps: Sequence[int]
    ) -> list[Float[Tensor, "... n_dims"]]:
        """m(λ) after each of `steps`.

        Args:
            eigenvalues: λ of S_t, the unnormalised Gram matrix.
            counts: t, broadcastable against `eigenvalues`.
            steps: Step counts, ascending.
        """

    def coefficients(
        self, decomposition: Decomposition, steps: Sequence[int]
    ) -> Iterator[Float[Tensor, "batch n_points n_dims"]]:
        """m(λ) Uᵀb_t."""
        multipliers = self.multiplier(decomposition.eigenvalues, decomposition.counts, steps)
        return (multiplier * decomposition.moments for multiplier in multipliers)

    def response(self, eigenvalues: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """g(λ) = λ m(λ), the fraction of w recovered along an eigenvector, after `n_steps`.

        Args:
            eigenvalues: Eigenvalues of the matrix that the learner steps on: S_t, or S_t/t with loss="mean".
        """
        counts = torch.ones_like(eigenvalues)
        return eigenvalues * self.multiplier(eigenvalues, counts, [self.n_steps])[0]
