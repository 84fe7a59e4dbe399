"""Random tokens that repeat: the task on which induction heads show themselves."""

from typing import Literal

import torch
from jaxtyping import Int
from pydantic import Field, model_validator
from torch import Generator, Tensor

from mesascope.models.tasks.token_sequence import TokenSequence


class RepeatedSequence(TokenSequence):
    """`period` random tokens, drawn uniformly with replacement, over and over.

    From point `period` on every token has been followed by its successor before, so that the next one can be known.
    A token that comes twice in a period has two successors, which only a longer context tells apart.

    Source: Olsson et al. (2022), "repeated random tokens".
    """

    name: Literal["repeated_sequence"] = "repeated_sequence"
    n_dims: int = Field(16, ge=2)
    """Size of the vocabulary."""
    n_points: int = Field(16, ge=2)
    period: int = Field(8, ge=1)
    min_period: int | None = Field(None, ge=1)
    """Each prompt draws its period from here to `period`; with one for all, a model need only count positions."""

    @model_validator(mode="after")
    def _repeats(self) -> "RepeatedSequence":
        if self.min_period is not None and self.min_period > self.period:
            raise ValueError(f"min_period={self.min_period} but period={self.period}; expected min_period <= period")
        if self.period >= self.n_points:
            raise ValueError(
                f"period={self.period} but n_points={self.n_points}: nothing repeats; expected period < n_points"
            )
        return self

    def tokens(self, n_prompts: int, rng: Generator) -> Int[Tensor, "n_prompts n_tokens"]:
        """One period, tiled."""
        once = torch.randint(self.n_dims, (n_prompts, self.period), generator=rng, device=rng.device)
        at = torch.arange(self.n_points + 1, device=rng.device)
        if self.min_period is None:
            return once[:, at % self.period]
        shape = (n_prompts, 1)
        periods = torch.randint(self.min_period, self.period + 1, shape, generator=rng, device=rng.device)
        return once.gather(1, at % periods)

    def scored(self, n_points: int) -> range:
        """The points of the repetitions."""
        return range(self.period, n_points)

    @property
    def late(self) -> int:
        """The first repetition."""
        return self.period
