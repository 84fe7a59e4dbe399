"""One number of two checkpoints: how far apart they are, and whether that says anything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot, inf, isfinite, isnan
from typing import Any

from scipy.stats import false_discovery_control
from scipy.stats import t as student_t

from mesascope.analyses.claim import Claim
from mesascope.probes import Estimate
from mesascope.probes.jackknife import N_BLOCKS

LEVEL = 0.05
"""Expected share of wrong names among the differences named."""
NEGLIGIBLE = 0.05
"""Differences below this share of the number itself, beyond its null, are small enough to say that none was found."""
SAME, NONE, DIFFERS, OPEN = "no difference", "no difference found", "differs", "undetermined"


@dataclass(frozen=True)
class Difference:
    """A number of a checkpoint minus that of the reference."""

    id: str
    """Of the claim in both."""
    label: str
    """The number in words."""
    checkpoint: str
    reference: str
    values: tuple[Estimate | float, Estimate | float]
    """The checkpoint's, then the reference's; a bare number has no interval."""
    delta: Estimate | float
    null: float
    """What the number is where there is nothing to find."""
    same: bool = False
    """Whether it is known to be none: identical weights, or the same number with the same interval."""
    q: float | None = None
    """Adjusted for all differences that were looked at; None before, or without an interval."""

    @property
    def value(self) -> float:
        """The difference."""
        return self.delta.value if isinstance(self.delta, Estimate) else self.delta

    @property
    def p(self) -> float | None:
        """Two-sided, from the interval: 0.05 where it ends at zero; None without one."""
        if self.same or not isinstance(self.delta, Estimate):
            return 1.0 if self.same else None
        reach = self.value - self.delta.low if self.value > 0 else self.delta.high - self.value
        if reach <= 0:
            return 0.0 if self.value else 1.0
        freedom = N_BLOCKS - 1
        return float(2 * student_t.sf(abs(self.value) / reach * student_t.ppf(0.975, freedom), freedom))

    @property
    def bound(self) -> float:
        """What the difference stays below, at 95%."""
        if self.same:
            return 0.0
        return max(map(abs, self.delta.ci)) if isinstance(self.delta, Estimate) else inf

    @property
    def scale(self) -> float:
        """The larger of the two numbers, beyond its null."""
        return max(abs(_number(value) - self.null) for value in self.values)

    @property
    def verdict(self) -> str:
        """Whether the two differ."""
        if self.same:
            return SAME
        if self.q is not None and self.q < LEVEL:
            return DIFFERS
        return NONE if self.bound <= NEGLIGIBLE * self.scale else OPEN

    @property
    def text(self) -> str:
        """In one sentence."""
        mine, theirs = (f"{_number(value):.4g}" for value in self.values)
        what = f"{self.label}: {mine} in {self.checkpoint}, {theirs} in {self.reference}"
        if self.same:
            return f"{what}; nothing lies between them."
        if not isinstance(self.delta, Estimate):
            return f"{what}; without intervals their difference of {self.value:.3g} says nothing."
        if self.verdict == DIFFERS:
            return f"{what}; {'higher' if self.value > 0 else 'lower'} by {abs(self.value):.3g} (q = {self.q:.2g})."
        return f"{what}; |difference| < {self.bound:.2g} at 95%."

    def claim(self) -> Claim:
        """As a claim."""
        ci = (0.0, 0.0) if self.same else self.delta.ci if isinstance(self.delta, Estimate) else None
        id_ = f"comparison.{self.checkpoint}.{self.id}"
        return Claim(id_, self.text, 0.0 if self.same else self.value, ci, 0.0, self.verdict)

    def data(self) -> dict[str, Any]:
        """Everything, as JSON."""
        claim = self.claim()
        return {
            "id": self.id,
            "label": self.label,
            "checkpoint": self.checkpoint,
            "reference": self.reference,
            "values": [_number(value) for value in self.values],
            "cis": [list(value.ci) if isinstance(value, Estimate) else None for value in self.values],
            "difference": claim.value,
            "ci": None if claim.ci is None else list(claim.ci),
            "p": self.p,
            "q": self.q,
            "verdict": self.verdict,
        }


def subtract(one: Estimate, other: Estimate) -> Estimate:
    """The difference one − other, with a 95% interval from theirs alone, which need not be symmetric.

    (d − √((one − one.low)² + (other.high − other)²), d + √((one.high − one)² + (other − other.low)²)): variances add,
    each recovered from the side of the interval that matters. It supposes independent estimates. Two checkpoints that
    are held against the same prompts err together, so the interval is then too wide rather than too narrow.

    Source: Zou & Donner (2008), Statistics in Medicine 27, eq. for θ₁ − θ₂ (their method MOVER).
    """
    value = one.value - other.value
    low = value - hypot(one.value - one.low, other.high - other.value)
    return Estimate(value, low, value + hypot(one.high - one.value, other.value - other.low))


def difference_of(
    mine: Claim, theirs: Claim, label: str, names: tuple[str, str], identical: bool = False
) -> Difference:
    """The difference of two finite numbers; without an interval where one has none, or an end of it is NaN.

    Args:
        mine: The checkpoint's claim.
        theirs: The reference's, of the same id.
        label: The number in words.
        names: The checkpoint's and the reference's.
        identical: Whether both are the same model, so that nothing can lie between them.
    """
    values = _estimate(mine), _estimate(theirs)
    delta: Estimate | float = _number(values[0]) - _number(values[1])
    if isinstance(values[0], Estimate) and isinstance(values[1], Estimate):
        delta = subtract(values[0], values[1])
    same = identical or values[0] == values[1]
    return Difference(mine.id, label, *names, values, delta, theirs.null or 0.0, same)


def why_not(mine: Claim | None, theirs: Claim | None, names: tuple[str, str], by_verdict: Sequence[str]) -> str | None:
    """Why the numbers of two claims of one id are not subtracted; None where they are, or neither is a number.

    Args:
        mine: The checkpoint's claim, if it has one.
        theirs: The reference's.
        names: The checkpoint's and the reference's.
        by_verdict: Analyses whose number is another under another verdict.
    """
    numbers = [None if claim is None else claim.value for claim in (mine, theirs)]
    if numbers == [None, None]:
        return None
    for number, name in zip(numbers, names, strict=True):
        if number is None:
            return f"{name} has no such number"
    for number, name in zip(numbers, names, strict=True):
        if number is not None and not isfinite(number):
            return f"not finite in {name}"
    assert mine is not None and theirs is not None
    if mine.id.partition(".")[0] in by_verdict and mine.verdict != theirs.verdict:
        return "of another kind, for the verdicts differ"
    return None


def adjusted(differences: Sequence[Difference]) -> list[Difference]:
    """The same with q: the p-values adjusted for how many were looked at, whatever their dependence.

    Of the differences that are named, 5% are expected to be none; where none is real, a name is given in 5% of
    comparisons. What is known to be the same was not looked for, and does not count.

    Source: Benjamini & Yekutieli (2001), by `scipy.stats.false_discovery_control`.
    """
    looked_at = [d for d in differences if not d.same and d.p is not None]
    qs = iter(false_discovery_control([d.p for d in looked_at], method="by")) if looked_at else iter(())
    return [replace(d, q=float(next(qs))) if not d.same and d.p is not None else d for d in differences]


def _estimate(claim: Claim) -> Estimate | float:
    assert claim.value is not None
    return claim.value if claim.ci is None or any(map(isnan, claim.ci)) else Estimate(claim.value, *claim.ci)


def _number(value: Estimate | float) -> float:
    return value.value if isinstance(value, Estimate) else value
