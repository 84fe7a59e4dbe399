"""Intervals of what is fitted or summed over blocks of prompts of which one at a time is left out."""

from jaxtyping import Float
from scipy.stats import t as student_t
from torch import Tensor

from mesascope.probes.jackknife import Estimate, block_sums, jackknife_ratio

N_BLOCKS = 20
"""Blocks of prompts."""


def jackknifed(values: Float[Tensor, " n"], left_out: Float[Tensor, "n_blocks n"]) -> list[Estimate]:
    """Values with their intervals from the same values without each block."""
    n = len(left_out)
    errors = ((n - 1) / n * (left_out - left_out.mean(0)).square().sum(0)).sqrt()
    half = float(student_t.ppf(0.975, n - 1)) * errors
    ends = zip(values.tolist(), (values - half).tolist(), (values + half).tolist(), strict=True)
    return [Estimate(*end) for end in ends]


def share_explained(errors: Float[Tensor, " n_blocks"], sizes: Float[Tensor, " n_blocks"]) -> Estimate:
    """1 − Σerrors/Σsizes, with its interval; 0 where fewer than two blocks have anything to explain."""
    if int((sizes > 0).sum()) < 2:
        return Estimate(0.0, 0.0, 0.0)
    return jackknife_ratio(-errors, sizes, offset=1.0)


def share_of_prompts(errors: Float[Tensor, " batch"], sizes: Float[Tensor, " batch"]) -> Estimate:
    """The same of one error and size for each prompt, in at most `N_BLOCKS` blocks."""
    n_blocks = min(N_BLOCKS, len(errors))
    return share_explained(block_sums(errors.cpu(), n_blocks), block_sums(sizes.cpu(), n_blocks))
