"""Intervals by leaving out one block of prompts at a time."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.stats import t as student_t
from torch import Tensor

N_BLOCKS = 20
"""Blocks of prompts that are left out in turn."""
N_RANKED = 39
"""Draws whose range holds one more in 95 of 100 cases, whatever their distribution: 1 − 2/(39 + 1)."""
LARGEST = 1 - 1e-9
"""Cosine that a larger one stands at, so that Fisher's z is finite."""


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


def cosine_interval(draws: Float[Tensor, " n_draws"]) -> Estimate:
    """The mean of some cosines, and the 95% interval in which one more would fall, which never leaves [−1, 1].

    Cosines of untrained models are bounded and skewed, so that mean and standard deviation may exceed what is possible.
    Fisher's z = atanh(cos) has no end, and normal theory holds there. From 39 draws on it is their range.

    Source: Fisher 1915, Biometrika 10(4), 507-521 (z); Wilks 1941, Ann. Math. Stat. 12(1), 91-96 (the range).

    Raises:
        ValueError: There are fewer than two draws.
    """
    draws = draws.double()
    if len(draws) >= N_RANKED:
        return Estimate(draws.mean().item(), draws.min().item(), draws.max().item())
    z = prediction_interval(draws.clamp(-LARGEST, LARGEST).atanh())
    return Estimate(draws.mean().item(), math.tanh(z.low), math.tanh(z.high))


def share_interval(draws: Float[Tensor, " n_draws"]) -> Estimate:
    """The same of shares explained, which are squared cosines; one below 0 explains nothing and counts as 0.

    Raises:
        ValueError: There are fewer than two draws.
    """
    shares = draws.double().clamp(0, 1)
    cosine = cosine_interval(shares.sqrt())
    return Estimate(shares.mean().item(), max(0.0, cosine.low) ** 2, cosine.high**2)
