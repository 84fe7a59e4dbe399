"""The variables of a learner that a model may hold, and what the learner predicts with another prompt's value."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models import FilterLearner, Prompts

Variable = Literal["w", "b", "S", "y"]
ROLES: dict[Variable, str] = {
    "w": "the weights",
    "b": "the moments b = Σ y x",
    "S": "the Gram matrix S = Σ x xᵀ",
    "y": "the prediction itself",
}


@dataclass(frozen=True)
class Values:
    """Every variable of a learner w = m(S) b at one point of every prompt; float64."""

    S: Float[Tensor, "batch n_dims n_dims"]
    b: Float[Tensor, "batch n_dims"]
    M: Float[Tensor, "batch n_dims n_dims"]
    """m(S), with which w = M b."""
    x: Float[Tensor, "batch n_dims"]
    """The query."""
    y: Float[Tensor, " batch"]
    """The prediction x·w; on a task that is not linear in x, of which w says nothing, the label."""

    @staticmethod
    def of(prompts: Prompts, point: int, learner: FilterLearner, linear: bool = True) -> "Values":
        """Those of the points before `point`, the query being that point.

        Args:
            prompts: Prompts of more points than `point`.
            point: The query.
            learner: Whose variables they are.
            linear: Whether y is the prediction. The label would be another one under noise, and for a learner that is
                not done.
        """
        d = prompts.prefixes([point])
        U, eigenvalues = d.basis[:, 0], d.eigenvalues[:, 0]
        (multiplier,) = learner.multiplier(d.eigenvalues, d.counts, [learner.n_steps])
        b, M = torch.einsum("bij,bj->bi", U, d.moments[:, 0]), (U * multiplier[:, 0, None]) @ U.mT
        x = prompts.xs[:, point].double()
        y = torch.einsum("bi,bij,bj->b", x, M, b) if linear else prompts.ys[:, point].double()
        return Values((U * eigenvalues[:, None]) @ U.mT, b, M, x, y)

    @property
    def w(self) -> Float[Tensor, "batch n_dims"]:
        """M b."""
        return torch.einsum("bij,bj->bi", self.M, self.b)

    def columns(self, variable: Variable) -> Float[Tensor, "batch d_variable"]:
        """A variable as the target of a readout; of S each entry once."""
        if variable == "S":
            rows, cols = torch.triu_indices(self.S.shape[-1], self.S.shape[-1])
            return self.S[:, rows, cols]
        value: Tensor = getattr(self, variable)
        return value[:, None] if variable == "y" else value

    def predict(self, variable: Variable | None = None, source: "Values | None" = None) -> Float[Tensor, " batch"]:
        """What the learner predicts at these queries, with one variable taken from other prompts.

        x·w_A, x·M b_A, x·m(S_A) b, and y_A, whatever the query.
        """
        other = self if source is None else source
        if variable == "y":
            return other.y
        M = other.M if variable in ("w", "S") else self.M
        b = other.b if variable in ("w", "b") else self.b
        return torch.einsum("bi,bij,bj->b", self.x, M, b)

    def predict_from(self, variable: Variable, reading: Float[Tensor, "batch d_variable"]) -> Float[Tensor, " batch"]:
        """What the learner predicts at these queries with a variable as it was read off, all but S."""
        if variable == "y":
            return reading[:, 0]
        w = reading if variable == "w" else torch.einsum("bij,bj->bi", self.M, reading)
        return (self.x * w).sum(-1)


def width(variable: Variable, n_dims: int) -> int:
    """How many numbers a variable is."""
    return {"y": 1, "S": n_dims * (n_dims + 1) // 2}.get(variable, n_dims)
