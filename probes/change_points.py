"""When a curve leaves its first level for its last, from a few noisy estimates of it on a grid of steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from scipy.stats import norm
from sklearn.isotonic import isotonic_regression
from torch import Tensor

ONSET, HALF = 0.1, 0.5
"""Shares of the way from the first level to the last: the curve has left its plateau; it has changed."""
LEVEL = 0.01
"""A change is one that noise makes in less than this share of draws: small, for many curves are looked at."""
CLEAR = 3.0
"""Standard errors by which a curve must be back to have come back."""
N_NULL, N_DRAWS = 1_000, 400
"""Draws of noise alone, and of a curve with its noise."""
MIN_POINTS = 5
"""Estimates that a curve needs: of fewer even a perfect step is no clear change."""


@dataclass(frozen=True, eq=False)
class Crossing:
    """The step at which a curve has gone some share of its way; never finer than the grid."""

    at: float
    """Linear in log(1 + step) between the two steps around it."""
    earliest: Float[Tensor, " n_draws"]
    """The step of the grid before it, in each draw."""
    latest: Float[Tensor, " n_draws"]
    """The step of the grid after it."""

    @property
    def ci(self) -> tuple[float, float]:
        """95% interval, from a step of the grid to another."""
        return float(self.earliest.quantile(0.025, interpolation="lower")), float(
            self.latest.quantile(0.975, interpolation="higher")
        )

    def after(self, other: "Crossing") -> tuple[float, tuple[float, float]]:
        """Steps by which this comes after `other`, with the 95% interval; zero is inside if the grid cannot tell."""
        low = (self.earliest - other.latest).quantile(0.025, interpolation="lower")
        high = (self.latest - other.earliest).quantile(0.975, interpolation="higher")
        return self.at - other.at, (float(low), float(high))


@dataclass(frozen=True, eq=False)
class Course:
    """Where a curve comes from, where it goes, and when."""

    before: float
    """The median over the steps before the best single split."""
    after: float
    """The median over the last half of those after it."""
    p: float
    """How likely noise alone is to do as much: independent at each step, or shared by all on either side."""
    onset: Crossing | None
    """When it has gone 10% of the way; None without a change."""
    half: Crossing | None

    @property
    def changes(self) -> bool:
        """Whether it does more than noise."""
        return self.half is not None


def find_change(steps: Sequence[int], values: Sequence[float], errors: Sequence[float], rng: torch.Generator) -> Course:
    """Find when a curve changes.

    The single split that leaves the least squares says whether it changes, against draws of noise alone; and its
    levels must differ by more than the error of a single estimate, for estimates may share their errors. The first
    level is the median of all before it, so that a transient at the start does not move it; the last level that of the
    last half of all after it. When the curve is half of the way between them is read off its isotonic regression, drawn
    again and again with its noise.

    The noise is the estimates' own, or their scatter about a smooth curve where that is larger. A curve that clearly
    comes back widens the interval to all its crossings.

    Args:
        steps: Increasing; `MIN_POINTS` or more.
        values: The curve at each.
        errors: Standard error of each.
        rng: What noise is drawn with.

    Raises:
        ValueError: There are fewer steps, they do not increase, or a number is not finite.

    Source: the split is Hinkley's (1970), the pooled fit that of Barlow et al. (1972); departure: no published interval
    joins an estimate's own noise with the grid of checkpoints.
    """
    _check(steps, values, errors)
    curve = torch.tensor(values, dtype=torch.float64)
    own = torch.tensor(errors, dtype=torch.float64)
    noise = own.clamp(min=float(_scatter(curve)))
    drawn = noise * torch.randn(N_NULL, len(curve), dtype=torch.float64, generator=rng)
    (gain, *null), (split, *_) = _best_split(torch.cat([curve[None], drawn]), own)
    n_first = int(split)
    first, last = slice(0, n_first), slice((n_first + len(curve)) // 2, None)
    before, after = (float(curve[side].quantile(0.5)) for side in (first, last))
    # Errors that the estimates share do not average out: the levels must differ by more than those of one estimate.
    shared = math.hypot(*(float(own[side].quantile(0.5)) for side in (first, last)))
    apart = abs(after - before) / max(shared, torch.finfo(torch.float64).tiny)
    p = max((1 + int((torch.stack(null) >= gain).sum())) / (1 + N_NULL), 2 * float(norm.sf(apart)))
    if p >= LEVEL or before == after:
        return Course(before, after, p, None, None)
    # From here on the curve rises from 0 to 1.
    rising, noise = (curve - before) / (after - before), noise / abs(after - before)
    fit = _pooled(rising)
    draws = [_pooled(fit + noise * torch.randn(len(fit), dtype=torch.float64, generator=rng)) for _ in range(N_DRAWS)]
    grid = torch.tensor(steps, dtype=torch.float64)
    onset, half = (_crossing(grid, fit, torch.stack(draws), rising, noise, share) for share in (ONSET, HALF))
    return Course(before, after, p, onset, half)


def _check(steps: Sequence[int], values: Sequence[float], errors: Sequence[float]) -> None:
    if len(steps) < MIN_POINTS:
        raise ValueError(f"a change needs {MIN_POINTS} steps, got {len(steps)}; keep more checkpoints")
    if any(left >= right for left, right in zip(steps, steps[1:], strict=False)):
        raise ValueError(f"steps must increase, got {list(steps)[:8]}; sort them")
    bad = [step for step, *numbers in zip(steps, values, errors, strict=True) if not all(map(math.isfinite, numbers))]
    if bad:
        raise ValueError(f"the curve is not finite at steps {bad[:5]}; leave them out")


def _scatter(curves: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Standard deviation of independent noise on smooth curves: second differences know no slope."""
    return 1.4826 * curves.diff(n=2).abs().median(-1).values / math.sqrt(6)


def _best_split(
    curves: Float[Tensor, "batch n"], own: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """How much less squared error two means leave than one, in units of the noise, and the points before the split."""
    n = curves.shape[-1]
    centred = curves - curves.mean(-1, keepdim=True)
    left, n_left = centred.cumsum(-1)[:, :-1], torch.arange(1, n, dtype=torch.float64)
    gain, at = (left.square() * n / (n_left * (n - n_left))).max(-1)
    # Each curve by its own scatter: of few points that is a poor estimate, in the draws as well.
    noise = _scatter(curves).square().clamp(min=float(own.square().mean()))
    # A constant curve gains nothing but rounding, whatever little its noise is.
    return gain / noise.clamp(min=1e-24 + 1e-20 * curves.square().mean(-1)), n_left[at]


def _pooled(curve: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return torch.from_numpy(isotonic_regression(curve.numpy()))


def _crossing(
    grid: Float[Tensor, " n"],
    fit: Float[Tensor, " n"],
    draws: Float[Tensor, "n_draws n"],
    rising: Float[Tensor, " n"],
    noise: Float[Tensor, " n"],
    share: float,
) -> Crossing:
    """When a curve from 0 to 1 is at `share`."""
    earliest, latest = _around(grid, draws >= share)
    # Back below by more than noise after it was above: every crossing may be the one.
    above, below = (torch.nonzero(side).flatten() for side in _clear_sides(rising, noise, share))
    if len(above) and len(below) and above[0] < below[-1]:
        earliest = earliest.clamp(max=float(grid[max(int(above[0]) - 1, 0)]))
        latest = latest.clamp(min=float(grid[min(int(below[-1]) + 1, len(grid) - 1)]))
    return Crossing(_interpolate(grid, fit, share), earliest, latest)


def _clear_sides(
    rising: Float[Tensor, " n"], noise: Float[Tensor, " n"], share: float
) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
    return rising > share + CLEAR * noise, rising < share - CLEAR * noise


def _around(
    grid: Float[Tensor, " n"], past: Bool[Tensor, "batch n"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """The steps before and at the first that is past; the last two where none is."""
    first = past.double().argmax(-1).where(past.any(-1), torch.tensor(len(grid) - 1))
    return grid[(first - 1).clamp(min=0)], grid[first]


def _interpolate(grid: Float[Tensor, " n"], fit: Float[Tensor, " n"], share: float) -> float:
    """Where the fit is at `share`, linear in log(1 + step)."""
    (low,), (high,) = _around(grid, (fit >= share)[None])
    at = int((grid == high).nonzero())
    if at == 0 or fit[at] <= fit[at - 1]:
        return float(high)
    way = float((share - fit[at - 1]) / (fit[at] - fit[at - 1]))
    return float(torch.expm1(torch.log1p(low) + min(way, 1.0) * (torch.log1p(high) - torch.log1p(low))))
