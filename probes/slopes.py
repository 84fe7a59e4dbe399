"""Least squares of a number on a few others, with intervals by leaving out blocks of prompts."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.probes.jackknife import Estimate, jackknifed


@dataclass
class Slopes:
    """Normal equations of y = Σ_k β_k z_k, no intercept, for every block of prompts; sums of workers add up.

    `+` merges.
    """

    ZZ: Float[Tensor, "n_blocks k k"]
    Zy: Float[Tensor, "n_blocks k"]

    @staticmethod
    def zeros(n_blocks: int, k: int) -> "Slopes":
        """Nothing seen yet."""
        return Slopes(*(torch.zeros(n_blocks, *shape, dtype=torch.float64) for shape in ((k, k), (k,))))

    def update(self, block: int, z: Float[Tensor, "batch k"], y: Float[Tensor, " batch"]) -> None:
        """Add prompts to a block, in place."""
        z, y = z.double().cpu(), y.double().cpu()
        self.ZZ[block] += z.mT @ z
        self.Zy[block] += y @ z

    def __add__(self, other: "Slopes") -> "Slopes":
        return Slopes(self.ZZ + other.ZZ, self.Zy + other.Zy)

    @property
    def estimates(self) -> list[Estimate]:
        """β_k with their delete-a-block jackknife intervals.

        Source: Efron & Stein (1981); departure: blocks of whole prompts, t quantiles.
        """
        ZZ, Zy = self.ZZ.sum(0), self.Zy.sum(0)
        return jackknifed(_solved(ZZ[None], Zy[None])[0], _solved(ZZ - self.ZZ, Zy - self.Zy))


def _solved(ZZ: Float[Tensor, "n k k"], Zy: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Of least norm where a regressor is zero."""
    return (torch.linalg.pinv(ZZ, hermitian=True) @ Zy[..., None])[..., 0]
