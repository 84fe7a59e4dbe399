"""What tasks of discrete tokens have in common: predict the next one."""

import math
from abc import abstractmethod

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor

from mesascope.models.errors import MesascopeError
from mesascope.models.learners.base import Learner
from mesascope.models.learners.prefix_matching import PrefixMatching
from mesascope.models.prompts import Prompts
from mesascope.models.tasks.base import Task


class TokenSequence(Task):
    """xs are one-hot tokens of a vocabulary of n_dims, ys the number of the *next* token, as a float.

    So y_i is x_{i+1}, and a prediction at point t has seen y_{t-1}, which is its own x_t. A prediction is n_dims
    logits.
    """

    @abstractmethod
    def tokens(self, n_prompts: int, rng: Generator) -> Int[Tensor, "n_prompts n_tokens"]:
        """Draw at least n_points + 1 tokens for every prompt."""

    def draw(self, n_prompts: int, rng: Generator, n_active: int) -> Prompts:
        """Draw tokens; one more than there are points, which the last y is.

        Raises:
            MesascopeError: Only some of the coordinates are to be active: of a one-hot vector none can be held at zero.
        """
        if n_active < self.n_dims:
            raise MesascopeError(
                f"n_active={n_active}, but the {self.n_dims} coordinates of {self.name} are tokens; "
                "expected all of them: train it without a curriculum on dimensions"
            )
        tokens = self.tokens(n_prompts, rng)[:, : self.n_points + 1]
        return Prompts(F.one_hot(tokens[:, :-1], self.n_dims).double(), tokens[:, 1:].double())

    @property
    def d_out(self) -> int:
        """One logit for every token."""
        return self.n_dims

    def loss(self, preds: Float[Tensor, "*points n_tokens"], ys: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """Cross-entropy of the logits, in nats."""
        return -preds.log_softmax(-1).gather(-1, ys.long()[..., None])[..., 0]

    @property
    def null_loss(self) -> float:
        """Of the uniform distribution, which logits of zero are: log n_dims."""
        return math.log(self.n_dims)

    def references(self) -> tuple[Learner, ...]:
        """What an induction head computes."""
        return (PrefixMatching(n_context=4, smoothing=1e-4), PrefixMatching())
