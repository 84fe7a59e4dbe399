"""What an induction head computes: look up what followed the current token before."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mesascope.models.errors import MesascopeError
from mesascope.models.learners.base import Learner
from mesascope.models.prompts import Prompts


@dataclass(frozen=True, repr=False)
class PrefixMatching(Learner):
    """P(next = v) ∝ smoothing + how often v followed the current token earlier in the prompt.

    For prompts of tokens: xs one-hot, ys the number of the *next* token. Uniform at a token that is new, which as
    logits is the zero that every learner predicts from nothing.

    Args:
        smoothing: Added to every count, so that a wrong certainty costs a finite loss.

    Source: Olsson et al. (2022): [A][B] … [A] → [B].
    """

    family: ClassVar[str] = "prefix matching"
    smoothing: float = 0.01

    def __post_init__(self) -> None:
        if not self.smoothing > 0:
            raise ValueError(f"PrefixMatching(smoothing={self.smoothing}): expected smoothing > 0")

    @property
    def label(self) -> str:
        """The smoothing."""
        return f"prefix matching +{self.smoothing:.3g}"

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points n_tokens"]:
        """Log-probabilities of the next token at every point, float64; unlike other learners' one number a point.

        Raises:
            MesascopeError: The inputs are not one-hot.
        """
        xs = prompts.xs.double()
        if not (((xs == 0) | (xs == 1)).all() and (xs.sum(-1) == 1).all()):
            raise MesascopeError("PrefixMatching got xs that are not one-hot; expected prompts of a task of tokens")
        same = (xs @ xs.mT).tril(-1)  # [batch, t, i]: x_i is x_t and comes before it
        counts = same @ F.one_hot(prompts.ys.long(), prompts.n_dims).double() + self.smoothing
        return torch.log(counts / counts.sum(-1, keepdim=True))
