"""What every reference learner is: predictions at every prefix, for every number of steps."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.prompts import Prompts


class Learner(ABC):
    """A learning algorithm that predicts y_t from the points before t, and zero from none.

    Anything with `predict(prompts)` can be attached to as if it were a model.
    """

    family: ClassVar[str]
    """Name of the family, as reports write it."""
    batched: ClassVar[bool] = True
    """Whether it predicts all prompts at once, rather than one prefix after the other."""

    @abstractmethod
    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Predictions at every point, float64."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The learner with its scalars, as reports write it."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}>"


@dataclass(frozen=True, repr=False)
class FilterLearner(Learner):
    """A learner whose weights are m(S_t) b_t for some function m, applied to the eigenvalues of S_t.

    Subclasses give `multiplier`; predictions, paths and responses follow from one shared decomposition.
    """

    scalar: ClassVar[str | None] = None
    """Name of the field that may take any positive value, such as a step size."""

    n_steps: int
    """The step count that `predict` and `response` use; closed forms have 0."""

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

    def path(self, prompts: Prompts, steps: Sequence[int] | None = None) -> Float[Tensor, "n_steps batch n_points"]:
        """Predictions after each of `steps` (default: 0, 1, …, n_steps), from one decomposition.

        Raises:
            ValueError: The steps do not ascend, or one is negative.
        """
        d = prompts.decomposition
        chosen = range(self.n_steps + 1) if steps is None else steps
        if list(chosen) != sorted(chosen) or min(chosen, default=0) < 0:
            raise ValueError(f"steps={list(chosen)}: expected ascending step counts, none negative")
        return torch.stack([d.predict(m) for m in self.multiplier(d.eigenvalues, d.counts, chosen)])

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Predictions at every point after `n_steps`, float64."""
        return self.path(prompts, [self.n_steps])[0]

    def weights(self, prompts: Prompts) -> Float[Tensor, "batch n_points n_dims"]:
        """The weight vector at every point after `n_steps`, float64."""
        d = prompts.decomposition
        return d.weights(self.multiplier(d.eigenvalues, d.counts, [self.n_steps])[0])

    def response(self, eigenvalues: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """g(λ) = λ m(λ), the fraction of w recovered along an eigenvector, after `n_steps`.

        Args:
            eigenvalues: Eigenvalues of the matrix that the learner steps on: S_t, or S_t/t with loss="mean".
        """
        counts = torch.ones_like(eigenvalues)
        return eigenvalues * self.multiplier(eigenvalues, counts, [self.n_steps])[0]
