"""Intervals by leaving out one block of prompts at a time."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.stats import t as student_t
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def ci(self) -> tuple[float, float]:
        """(low, high)."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def jackknife_ratio(
    numerator: Float[Tensor, " n_blocks"], denominator: Float[Tensor, " n_blocks"], offset: float = 0.0
) -> Estimate:
    """Offset + Σnumerator/Σdenominator over blocks of prompts, with its delete-a-block jackknife interval.

    Blocks are of whole prompts, so the interval is clustered by prompt. R² is 1 + (−SSE)/SST.

    Raises:
        ValueError: There are fewer than two blocks.
    """
    n = len(numerator)
    if n < 2:
        raise ValueError(f"a jackknife needs at least 2 blocks, got {n}; use more prompts")
    value = numerator.sum() / denominator.sum()
    left_out = (numerator.sum() - numerator) / (denominator.sum() - denominator)
    error = ((n - 1) / n * (left_out - left_out.mean()).square().sum()).sqrt().item()
    half = float(student_t.ppf(0.975, n - 1)) * error
    centre = offset + value.item()
    return Estimate(centre, centre - half, centre + half)


def block_sums(values: Float[Tensor, "n_prompts *rest"], n_blocks: int) -> Float[Tensor, "n_blocks *rest"]:
    """Sums over `n_blocks` consecutive blocks of prompts of nearly equal size."""
    return torch.stack([part.sum(0) for part in values.double().tensor_split(n_blocks)])


def prediction_interval(draws: Float[Tensor, " n_draws"]) -> Estimate:
    """The mean of some draws, and the 95% interval in which one more would fall (normal theory, t quantiles).

    Raises:
        ValueError: There are fewer than two draws.
    """
    n = len(draws)
    if n < 2:
        raise ValueError(f"a prediction interval needs at least 2 draws, got {n}")
    half = float(student_t.ppf(0.975, n - 1)) * draws.std().item() * (1 + 1 / n) ** 0.5
    centre = draws.mean().item()
    return Estimate(centre, centre - half, centre + half)
