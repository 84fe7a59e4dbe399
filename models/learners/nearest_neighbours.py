"""The mean of y over the nearest examples."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import Learner, Sweep
from mesascope.models.prompts import Prompts

if TYPE_CHECKING:
    from mesascope.models.tasks.base import Regression


@dataclass(frozen=True, repr=False)
class NearestNeighbours(Learner):
    """The mean of y over the k examples nearest to x_t, over all of them while there are fewer.

    Of two examples at the same distance the earlier one is nearer. O(batch · n_points² · n_dims).

    Args:
        k: How many.

    Source: Garg et al. (2022), section 3 (k=3).
    """

    family: ClassVar[str] = "nearest neighbours"
    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"NearestNeighbours(k={self.k}): expected k >= 1")

    @property
    def label(self) -> str:
        """The number of neighbours."""
        return f"{self.k}-nearest neighbours"

    @property
    def strength(self) -> dict[str, float]:
        """The number of neighbours."""
        return {"k": float(self.k)}

    @classmethod
    def sweeps(cls, task: "Regression") -> tuple[Sweep, ...]:
        """One to eight neighbours."""
        return tuple(Sweep(cls(k)) for k in range(1, min(8, max(task.n_points - 1, 1)) + 1))

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Predictions at every point, float64."""
        xs, ys = prompts.xs.double(), prompts.ys.double()
        n_points = prompts.n_points
        before = torch.ones(n_points, n_points, dtype=torch.bool, device=xs.device).tril(-1)  # [t, i] = i < t
        # Differences, not |x|² + |z|² − 2x·z: a repeated point must be at distance zero.
        distances = torch.cdist(xs, xs, compute_mode="donot_use_mm_for_euclid_dist")
        order = distances.masked_fill(~before, torch.inf).argsort(dim=-1, stable=True)[..., : self.k]  # [b, t, k]
        neighbours = ys[:, None, :].expand(-1, n_points, -1).gather(-1, order)
        counts = torch.arange(n_points, device=xs.device).clamp(max=order.shape[-1])
        # Examples come first in the order, so those that do not exist yet are the last ones of each row.
        exist = torch.arange(order.shape[-1], device=xs.device) < counts[:, None]
        return (neighbours * exist).sum(-1) / counts.clamp(min=1)
