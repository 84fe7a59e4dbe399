"""The average of y x over the examples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import FilterLearner, Sweep

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression


@dataclass(frozen=True, repr=False)
class Averaging(FilterLearner):
    """w = b/t, which is E y x in the limit; g(λ) = λ with λ of S/t.

    The same as one step of gradient descent on the mean loss with η = 1, and consistent only where E x xᵀ = I.

    Source: Garg et al. (2022), section 3.
    """

    family: ClassVar[str] = "averaging"
    n_steps: int = field(default=0, init=False)

    @property
    def label(self) -> str:
        """It has no scalars."""
        return "averaging"

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """It alone."""
        return (Sweep(cls()),)

    def multiplier(
        self, eigenvalues: Float[Tensor, "... n_dims"], counts: Float[Tensor, "..."], steps: Sequence[int]
    ) -> list[Float[Tensor, "... n_dims"]]:
        """1/t."""
        return [(1 / counts.clamp(min=1.0)).expand_as(eigenvalues)] * len(steps)
