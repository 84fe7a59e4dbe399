"""Intervals by leaving out one block of prompts at a time."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.stats import t as student_t
from torch import Tensor

N_BLOCKS = 20
"""Blocks of prompts that are left out in turn."""


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


def jackknifed(values: Float[Tensor, " n"], left_out: Float[Tensor, "n_blocks n"]) -> list[Estimate]:
    """Values with their intervals from the same values without each block."""
    n = len(left_out)
    errors = ((n - 1) / n * (left_out - left_out.mean(0)).square().sum(0)).sqrt()
    half = float(student_t.ppf(0.975, n - 1)) * errors
    ends = zip(values.tolist(), (values - half).tolist(), (values + half).tolist(), strict=True)
    return [Estimate(*end) for end in ends]


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
    (found,) = jackknifed(offset + value[None], left_out[:, None])
    return found


def block_sums(values: Float[Tensor, " n_prompts *rest"], n_blocks: int) -> Float[Tensor, " n_blocks *rest"]:
    """Sums over `n_blocks` consecutive blocks of prompts of nearly equal size."""
    return torch.stack([part.sum(0) for part in values.double().tensor_split(n_blocks)])


def share_explained(errors: Float[Tensor, " n_blocks"], sizes: Float[Tensor, " n_blocks"]) -> Estimate:
    """1 − Σerrors/Σsizes, with its interval; 0 where fewer than two blocks have anything to explain."""
    if int((sizes > 0).sum()) < 2:
        return Estimate(0.0, 0.0, 0.0)
    return jackknife_ratio(-errors, sizes, offset=1.0)


def share_of_prompts(errors: Float[Tensor, " batch"], sizes: Float[Tensor, " batch"]) -> Estimate:
    """The same of one error and size for each prompt, in at most `N_BLOCKS` blocks."""
    n_blocks = min(N_BLOCKS, len(errors))
    return share_explained(block_sums(errors.cpu(), n_blocks), block_sums(sizes.cpu(), n_blocks))


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
