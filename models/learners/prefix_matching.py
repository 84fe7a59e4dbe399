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
    """P(next = v) ∝ smoothing + how often v followed the longest match of the last tokens earlier in the prompt.

    For prompts of tokens: xs one-hot, ys the number of the *next* token. Uniform at a token that is new, which as
    logits is the zero that every learner predicts from nothing.

    Args:
        n_context: The longest match that is looked for; 1, an induction head's, is the current token alone.
        smoothing: Added to every count, so that a wrong certainty costs a finite loss.

    Source: Olsson et al. (2022): [A][B] … [A] → [B].
    """

    family: ClassVar[str] = "prefix matching"
    n_context: int = 1
    smoothing: float = 0.01

    def __post_init__(self) -> None:
        if self.n_context < 1 or not self.smoothing > 0:
            raise ValueError(
                f"PrefixMatching(n_context={self.n_context}, smoothing={self.smoothing}): expected n_context >= 1 and "
                "smoothing > 0"
            )

    @property
    def label(self) -> str:
        """Context and smoothing."""
        return f"prefix matching of {self.n_context} token{'s' if self.n_context > 1 else ''} +{self.smoothing:.3g}"

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_points n_tokens"]:
        """Log-probabilities of the next token at every point, float64; unlike other learners' one number a point.

        Raises:
            MesascopeError: The inputs are not one-hot.
        """
        xs = prompts.xs.double()
        if not (((xs == 0) | (xs == 1)).all() and (xs.sum(-1) == 1).all()):
            raise MesascopeError("PrefixMatching got xs that are not one-hot; expected prompts of a task of tokens")
        same = (xs @ xs.mT).tril(-1)  # [batch, t, i]: x_i is x_t and comes before it
        run, length = same, same
        for _ in range(self.n_context - 1):
            run = same * F.pad(run, (1, -1, 1, -1))  # [t, i]: the tokens before them are the same, too
            length = length + run
        longest = (length == length.amax(-1, keepdim=True)) & (length > 0)
        counts = longest.double() @ F.one_hot(prompts.ys.long(), prompts.n_dims).double() + self.smoothing
        return torch.log(counts / counts.sum(-1, keepdim=True))
