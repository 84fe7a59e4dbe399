"""One quantity through training: a claim followed over checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from scipy.stats import norm

from mesascope.analyses.claim import Claim, as_json
from mesascope.models.streams import generator
from mesascope.probes import Estimate
from mesascope.probes.change_points import MIN_POINTS, Course, Crossing, find_change


@dataclass(frozen=True)
class Series:
    """A claim's number at every checkpoint that has it, and when it changes."""

    id: str
    """The claim's."""
    analysis: str
    label: str
    unit: str
    steps: tuple[int, ...]
    estimates: tuple[Estimate, ...]
    null: float | None
    """The claim's null: the median over checkpoints."""
    course: Course | None
    """None if there are too few checkpoints to tell."""

    @classmethod
    def of(cls, analysis: str, label: str, unit: str, claims: dict[int, Claim], seed: int) -> "Series":
        """From the claims of one id by step."""
        steps, first = sorted(claims), next(iter(claims.values()))
        estimates = [_estimate(claims[step]) for step in steps]
        nulls = [claim.null for claim in claims.values() if claim.null is not None]
        course = None
        if len(steps) >= MIN_POINTS:
            values, errors = [e.value for e in estimates], [_standard_error(e) for e in estimates]
            course = find_change(steps, values, errors, generator(seed, f"change of {first.id}"))
        null = median(nulls) if nulls else None
        return cls(first.id, analysis, label, unit, tuple(steps), tuple(estimates), null, course)

    @property
    def half(self) -> Crossing | None:
        """When it is half of the way from its first level to its last."""
        return None if self.course is None else self.course.half

    @property
    def onset(self) -> Crossing | None:
        """When it leaves its first level."""
        return None if self.course is None else self.course.onset

    @property
    def verdict(self) -> str:
        """Whether it changes."""
        if self.course is None:
            return "too few checkpoints"
        return "changes" if self.course.changes else "no change"

    def data(self) -> dict[str, Any]:
        """Everything, as JSON."""
        course = self.course
        return {
            "id": self.id,
            "label": self.label,
            "steps": list(self.steps),
            "values": [as_json(estimate) for estimate in self.estimates],
            "null": self.null,
            "verdict": self.verdict,
            "before": None if course is None else course.before,
            "after": None if course is None else course.after,
            "p": None if course is None else course.p,
            "onset": _crossing(self.onset),
            "half": _crossing(self.half),
        }


def by_id(claims: Sequence[tuple[int, Sequence[Claim]]]) -> dict[str, dict[int, Claim]]:
    """Claims of many steps, by id and then by step; ids in the order in which the last step has them."""
    found: dict[str, dict[int, Claim]] = {claim.id: {} for _, of_step in reversed(claims) for claim in of_step}
    for step, of_step in claims:
        for claim in of_step:
            found[claim.id][step] = claim
    return found


def _estimate(claim: Claim) -> Estimate:
    assert claim.value is not None and claim.ci is not None  # what has no interval is not followed
    return Estimate(claim.value, *claim.ci)


def _standard_error(estimate: Estimate) -> float:
    """Of a normal estimate with this interval; with the t quantiles of a jackknife it is 7% too large.

    By the longer side: the interval of an absolute value is that of the signed number but for what lies beyond zero.
    """
    return max(estimate.high - estimate.value, estimate.value - estimate.low) / float(norm.ppf(0.975))


def _crossing(crossing: Crossing | None) -> dict[str, Any] | None:
    return None if crossing is None else {"step": crossing.at, "ci": list(crossing.ci)}
