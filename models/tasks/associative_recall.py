"""Keys and their values, and then the keys again: which value was it?"""

from typing import Literal

import torch
from jaxtyping import Int
from pydantic import Field, model_validator
from torch import Generator, Tensor

from mesascope.models.tasks.token_sequence import TokenSequence


class AssociativeRecall(TokenSequence):
    """k_1 v_1 … k_n v_n, and then the same n_pairs pairs in an order of their own.

    The keys of a prompt are distinct, tokens 0 … n_keys-1; values are tokens from n_keys on, and may repeat. That makes
    4·n_pairs tokens, of which the last is only ever predicted: so n_points = 4·n_pairs - 1, or less, as long as a key
    of the second half is left. There, at the even points from 2·n_pairs on, the value can be known; that is scored.

    Source: Olsson et al. (2022) for the mechanism; the format is that of Ba et al. (2016), section 4.1, with all of the
    keys asked for.
    """

    name: Literal["associative_recall"] = "associative_recall"
    n_keys: int = Field(8, ge=1)
    n_values: int = Field(8, ge=2)
    n_pairs: int = Field(4, ge=1)
    n_dims: int = Field(16, ge=3)
    """Size of the vocabulary, n_keys + n_values."""
    n_points: int = Field(15, ge=3)

    @model_validator(mode="after")
    def _fits(self) -> "AssociativeRecall":
        if self.n_dims != self.n_keys + self.n_values:
            raise ValueError(
                f"n_dims={self.n_dims} but n_keys={self.n_keys} and n_values={self.n_values}; "
                f"expected n_dims={self.n_keys + self.n_values}, their sum"
            )
        if self.n_pairs > self.n_keys:
            raise ValueError(f"n_pairs={self.n_pairs} but n_keys={self.n_keys}; expected n_pairs <= n_keys")
        if not 2 * self.n_pairs < self.n_points < 4 * self.n_pairs:
            raise ValueError(
                f"n_points={self.n_points} but n_pairs={self.n_pairs}; expected n_points={4 * self.n_pairs - 1}, "
                f"or less but at least {2 * self.n_pairs + 1}"
            )
        return self

    def tokens(self, n_prompts: int, rng: Generator) -> Int[Tensor, "n_prompts n_tokens"]:
        """Pairs, then the pairs permuted."""
        keys = self._order(n_prompts, self.n_keys, rng)[:, : self.n_pairs]
        values = torch.randint(self.n_keys, self.n_dims, keys.shape, generator=rng, device=rng.device)
        again = self._order(n_prompts, self.n_pairs, rng)
        pairs = torch.stack([keys, values], dim=-1)  # [prompt, pair, key or value]
        recalled = torch.stack([keys.gather(1, again), values.gather(1, again)], dim=-1)
        return torch.cat([pairs, recalled], dim=1).flatten(1)

    @staticmethod
    def _order(n_prompts: int, n: int, rng: Generator) -> Int[Tensor, "n_prompts n"]:
        """A uniformly random permutation for every prompt."""
        return torch.rand(n_prompts, n, generator=rng, device=rng.device, dtype=torch.float64).argsort(-1)

    def scored(self, n_points: int) -> range:
        """The keys of the second half."""
        return range(2 * self.n_pairs, n_points, 2)

    @property
    def late(self) -> int:
        """The second half."""
        return 2 * self.n_pairs
