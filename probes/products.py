"""Inner products of predictions, block by block of prompts: all that quadratic comparisons need."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Products:
    """V_b V_bᵀ of named vectors of predictions V, for every block b of prompts.

    Distances, sizes, shares explained and the best mixture of two are functions of the sum over blocks; resampling
    blocks gives their intervals. `a + b` joins the blocks of two sets of prompts.
    """

    names: tuple[str, ...]
    blocks: Float[Tensor, "n_blocks n_names n_names"]

    @staticmethod
    def of(vectors: dict[str, Float[Tensor, "n_prompts n_points"]], n_blocks: int) -> "Products":
        """Products of predictions on the same prompts, cut into at most `n_blocks` blocks of nearly equal size."""
        stacked = torch.stack([vector.double() for vector in vectors.values()])  # [name, prompt, point]
        parts = stacked.tensor_split(min(n_blocks, stacked.shape[1]), dim=1)
        flat = [part.flatten(1) for part in parts]
        return Products(tuple(vectors), torch.stack([part @ part.T for part in flat]))

    def __add__(self, other: "Products") -> "Products":
        if self.names != other.names:
            raise ValueError(f"products of {self.names} and of {other.names} do not add up")
        return Products(self.names, torch.cat([self.blocks, other.blocks]))

    @staticmethod
    def folded(parts: Sequence["Products"], n_blocks: int) -> "Products":
        """The sum of all parts, with consecutive blocks added up until there are at most `n_blocks`."""
        joined = sum(parts[1:], parts[0])
        if len(joined.blocks) <= n_blocks:
            return joined
        return Products(joined.names, torch.stack([b.sum(0) for b in joined.blocks.tensor_split(n_blocks)]))

    @cached_property
    def total(self) -> Float[Tensor, "n_names n_names"]:
        """The sum over all prompts."""
        return self.blocks.sum(0)

    def index(self, name: str) -> int:
        """The row of a name."""
        return self.names.index(name)

    def bootstrap(self, n: int, rng: torch.Generator) -> Float[Tensor, "n n_names n_names"]:
        """Sums over `n` resamples of the blocks."""
        n_blocks = len(self.blocks)
        picks = torch.randint(n_blocks, (n, n_blocks), generator=rng)
        counts = torch.zeros(n, n_blocks, dtype=torch.float64).scatter_add_(1, picks, torch.ones(n, n_blocks).double())
        return (counts @ self.blocks.cpu().flatten(1)).unflatten(1, self.blocks.shape[1:])


def distances(products: Float[Tensor, "*lead n n"], to: int) -> Float[Tensor, "*lead n"]:
    """Σ (v_i − v_to)² for every i, from a matrix of products; rounding never makes one negative."""
    squares = products.diagonal(dim1=-2, dim2=-1)
    return (squares + squares[..., to, None] - 2 * products[..., to]).clamp(min=0.0)


def mixing(products: Float[Tensor, "*lead n n"], target: int, pair: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The t that brings t·a + (1−t)·b nearest to a target, and Σ (target − that)².

    Both have the leading shape of `products`; t is not held to [0, 1], and is NaN where a = b.
    """
    a, b = pair
    square = products[..., a, a] + products[..., b, b] - 2 * products[..., a, b]
    along = products[..., target, a] - products[..., target, b] - products[..., a, b] + products[..., b, b]
    left = products[..., target, target] + products[..., b, b] - 2 * products[..., target, b]
    t = along / square
    return t, (left - t * along).clamp(min=0.0)
