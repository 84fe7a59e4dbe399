"""Contexts for a loss that rare ones decide: those of large eigenvalue are drawn often, and weighted down."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from mesascope.models.training.small_form import Grams

N_TAIL, N_BULK, BANK_SHARE = 400, 3000, 100
"""A context of rank r in a pool is kept with probability N_TAIL/r + N_BULK/n; 1/BANK_SHARE of a pool is remembered."""


@dataclass(frozen=True)
class Contexts:
    """Contexts with what they count for."""

    grams: Grams
    w: Float[Tensor, "batch n_dims"]
    importance: Float[Tensor, " batch"]
    """Probability of each over that of being here; the mean over a whole pool is 1."""

    @staticmethod
    def plain(grams: Grams, w: Float[Tensor, "batch n_dims"]) -> "Contexts":
        """Contexts as they come."""
        return Contexts(grams, w, torch.ones_like(w[:, 0]))

    def __getitem__(self, index: Tensor | slice) -> "Contexts":
        return Contexts(self.grams[index], self.w[index], self.importance[index])

    def __len__(self) -> int:
        return len(self.w)


@dataclass
class Bank:
    """The contexts of largest eigenvalue that were seen so far; each stands for one in `n_seen`.

    A deep linear-attention network is a polynomial of high degree in the eigenvalues (40 at four layers), so that
    contexts of probability 1e-5 can decide its mean squared error. No batch holds them; the bank does not forget them.
    """

    grams: Grams
    w: Float[Tensor, "n_bank n_dims"]
    n_seen: int = 0

    @staticmethod
    def empty(D: int, device: torch.device) -> "Bank":
        """Nothing seen yet."""
        nothing = torch.zeros(0, D, D, dtype=torch.float64, device=device)
        return Bank(nothing, nothing[:, 0, :-1])

    def draw(self, grams: Grams, w: Float[Tensor, "n_pool n_dims"], rng: Generator) -> Contexts:
        """Add a pool of fresh contexts; return what represents them and all that was seen, for any loss unbiased."""
        n_old, n_pool = len(self.w), len(w)
        n_bank = n_pool // BANK_SHARE
        self.n_seen += n_pool
        grams, w = torch.cat([self.grams, grams]), torch.cat([self.w, w])
        order = largest(grams).argsort(descending=True)
        kept, rest = order[:n_bank], order[n_bank:]
        self.grams, self.w = grams[kept], w[kept]
        rest = rest[rest >= n_old]  # what fell out of the bank is represented by the pool
        probability = N_TAIL / torch.arange(1, len(rest) + 1, dtype=torch.float64) + N_BULK / len(rest)
        chosen = torch.rand(len(rest), generator=rng, dtype=torch.float64) < probability
        share = (1 - n_bank / self.n_seen) / len(rest)
        weights = torch.cat(
            [torch.full((n_bank,), 1 / self.n_seen, dtype=torch.float64), share / probability.clamp(max=1)[chosen]]
        )
        picked = torch.cat([kept, rest[chosen.to(rest.device)]])
        return Contexts(grams[picked], w[picked], (weights * len(weights)).to(w))


def largest(grams: Grams) -> Float[Tensor, " batch"]:
    """(Σ λ⁸)^(1/8) of the x-block, close to its largest eigenvalue."""
    fourth = torch.linalg.matrix_power(grams[:, :-1, :-1], 4)
    return fourth.square().sum((-2, -1)) ** 0.125
