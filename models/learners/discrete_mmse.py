"""The Bayes estimator for a finite pool of tasks."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import Learner
from mesascope.models.prompts import Prompts
from mesascope.models.streams import generator

AT_ONCE = 2**22
"""Most errors, of every task at every point, that are held at once."""


@dataclass(frozen=True, repr=False)
class DiscreteMMSE(Learner):
    """The posterior mean of w over a pool of weight vectors, each as likely as the others.

    w = Σ_m p_m w_m with p_m ∝ exp(−Σ_{i<t} (y_i − w_m·x_i)²/(2σ²)): a model that memorised its n_tasks training tasks,
    where ridge regression has learned to regress. From no points it predicts with the mean of the pool, which is not
    zero: a departure from what every other learner here does. O(batch · n_points · n_dims · n_tasks).

    Args:
        n_tasks: Size of the pool.
        noise_std: σ.
        w_std: Scale of the pool.
        seed: What the pool is drawn with.

    Raises:
        ValueError: The pool is empty, or a scale is not positive.

    Source: Raventós et al. (2023), eq. 4.
    """

    family: ClassVar[str] = "discrete MMSE"
    scalars: ClassVar[tuple[str, ...]] = ("noise_std",)
    n_tasks: int
    noise_std: float
    w_std: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_tasks < 1 or not self.noise_std > 0 or not self.w_std > 0:
            raise ValueError(
                f"DiscreteMMSE(n_tasks={self.n_tasks}, noise_std={self.noise_std}, w_std={self.w_std}): expected "
                "n_tasks >= 1, noise_std > 0 and w_std > 0; take a small noise_std if there is no noise"
            )

    @property
    def label(self) -> str:
        """The pool and the noise."""
        return f"discrete MMSE of {self.n_tasks} tasks (seed {self.seed}) σ={self.noise_std:.3g}"

    @property
    def strength(self) -> dict[str, float]:
        """The noise."""
        return {"σ": self.noise_std}

    def pool(self, n_dims: int) -> Float[Tensor, "n_tasks n_dims"]:
        """The weight vectors, N(0, w_std² I); a larger pool of the same seed is another one."""
        rng = generator(self.seed, "pool", self.n_tasks, n_dims)
        return self.w_std * torch.randn(self.n_tasks, n_dims, generator=rng, dtype=torch.float64)

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Predictions at every point, float64."""
        return (self.weights(prompts) * prompts.xs).sum(-1)

    def weights(self, prompts: Prompts) -> Float[Tensor, "batch n_points n_dims"]:
        """The posterior mean at every point, float64."""
        pool = self.pool(prompts.n_dims).to(prompts.xs.device)
        size = max(AT_ONCE // (prompts.n_points * self.n_tasks), 1)
        return torch.cat([self._posterior_mean(part, pool) for part in prompts.split(size)])

    def _posterior_mean(
        self, prompts: Prompts, pool: Float[Tensor, "n_tasks n_dims"]
    ) -> Float[Tensor, "batch n_points n_dims"]:
        errors = (prompts.ys.double()[..., None] - prompts.xs.double() @ pool.T).square()
        seen = torch.nn.functional.pad(errors[:, :-1].cumsum(1), (0, 0, 1, 0))
        # softmax subtracts the largest first: without, all would underflow under little noise.
        return (-seen / (2 * self.noise_std**2)).softmax(-1) @ pool
