"""How near layers of random weights come to a family of constructions."""

from typing import Any

import torch

from mesascope.analyses.matching.families import Family
from mesascope.analyses.matching.nearest import distance_to
from mesascope.models.streams import generator
from mesascope.probes import LayerOperator, TokenBasis

N_RANDOM = 20
"""Layers of random weights."""


class RandomLayers:
    """Layers of normal weights between slots: how near chance comes to a family; their norm does not matter.

    Args:
        seed: Seed of the weights.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self._found: dict[tuple[Any, ...], float] = {}

    def distance(self, family: Family, basis: TokenBasis, like: LayerOperator) -> float:
        """The smallest distance of `N_RANDOM` layers with as many heads and slots as another."""
        factors = (like.W_Q, like.W_K, like.W_V, like.W_O)
        key = (family.name, basis.query.names, basis.write.names, *(factor.shape for factor in factors))
        if key not in self._found:
            rng = generator(self.seed, "random layers")
            draws = (
                LayerOperator(*(torch.randn(f.shape, generator=rng, dtype=f.dtype).to(f) for f in factors))
                for _ in range(N_RANDOM)
            )
            self._found[key] = min(distance_to(draw, family, basis) for draw in draws)
        return self._found[key]
