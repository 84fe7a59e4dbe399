"""In-context regression on random decision trees."""

from typing import Literal

import torch
from pydantic import Field
from torch import Generator

from mesascope.models.learners.base import Learner
from mesascope.models.learners.estimators import GreedyTree
from mesascope.models.learners.nearest_neighbours import NearestNeighbours
from mesascope.models.tasks.base import Function, Regression


class DecisionTree(Regression):
    """y_i is the leaf that x_i falls into, plus noise_std·ε_i.

    A complete binary tree: every inner node asks whether one random coordinate is positive (the same may be asked twice
    on the way down, which leaves some leaves empty), every leaf holds a number from N(0, w_std²).

    Source: Garg et al. (2022), section 5 (depth 4).
    """

    name: Literal["decision_tree"] = "decision_tree"
    depth: int = Field(4, ge=1, le=16)
    """Questions from the root to a leaf; a prompt holds 2^depth numbers."""

    def function(self, n_prompts: int, rng: Generator) -> Function:
        """The map x ↦ the value of its leaf."""
        n_leaves = 2**self.depth
        # Nodes as in a heap: the children of node i are 2i+1 (not positive) and 2i+2 (positive); leaves come last.
        coordinates = torch.randint(self.n_dims, (n_prompts, n_leaves - 1), generator=rng, device=rng.device)
        values = torch.randn(n_prompts, n_leaves, generator=rng, device=rng.device, dtype=torch.float64)

        def evaluate(xs: torch.Tensor) -> torch.Tensor:
            node = torch.zeros(xs.shape[:2], dtype=torch.long, device=xs.device)
            for _ in range(self.depth):
                asked = coordinates.gather(1, node)
                node = 2 * node + 1 + (xs.gather(2, asked[..., None])[..., 0] > 0).long()
            return self.w_std * values.gather(1, node - (n_leaves - 1))

        return Function(evaluate)

    @property
    def null_loss(self) -> float:
        """E y²."""
        return self.w_std**2 + self.noise_std**2

    def references(self) -> tuple[Learner, ...]:
        """A greedy tree on the signs, which are all that matters; one on x as it is; three nearest neighbours."""
        return (GreedyTree(self.depth, on_signs=True), GreedyTree(self.depth), NearestNeighbours(3))
