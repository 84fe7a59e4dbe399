"""The predictor of zero."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.learners.base import Learner
from mesascope.models.prompts import Prompts


@dataclass(frozen=True, repr=False)
class Zero(Learner):
    """ŷ = 0, the floor of every comparison; a learner mixed with it is that learner scaled."""

    family: ClassVar[str] = "zero"

    @property
    def label(self) -> str:
        """It has no scalars."""
        return "zero"

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points"]:
        """Zeros, float64."""
        return torch.zeros(prompts.ys.shape, dtype=torch.float64, device=prompts.ys.device)
