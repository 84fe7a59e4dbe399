"""When each quantity changes, and in which order."""

from statistics import median

from mesascope.analyses.claim import Claim
from mesascope.analyses.development.series import Series
from mesascope.probes.change_points import N_NULL, Crossing

TOGETHER = "undetermined"


def change_claim(series: Series) -> Claim:
    """When a quantity is half of the way from its first level to its last."""
    id_, course = f"development.change.{series.id}", series.course
    if course is None:
        text = f"{series.label}: {len(series.steps)} checkpoints have it, too few to tell when it changes."
        return Claim(id_, text, None, None, None, series.verdict)
    noise = f"the chance that noise alone does as much is {_chance(course.p)}"
    if course.half is None or course.onset is None:
        level = median(estimate.value for estimate in series.estimates)
        text = f"{series.label} stays at {level:.3g} as far as its noise allows to say ({noise})."
        return Claim(id_, text, None, None, None, series.verdict)
    low, high = course.onset.ci
    text = (
        f"{series.label} goes from {course.before:.3g} to {course.after:.3g} ({noise}): it leaves its first level at "
        f"step {course.onset.at:.0f} [{low:.0f}, {high:.0f}] and is half of the way at step {course.half.at:.0f}"
        f"{_since(series)}."
    )
    return Claim(id_, text, course.half.at, course.half.ci, None, series.verdict)


def _chance(p: float) -> str:
    """Of draws, of which there are no more than this can tell."""
    least = 1 / (1 + N_NULL)
    return f"{p:.2g}" if p > least else f"{least:.1g} or less"


def order_claim(series: Series, loss: Series, onset: bool = False) -> Claim | None:
    """Whether a quantity changes before or after the loss; None unless both do."""
    one, other = (s.onset if onset else s.half for s in (series, loss))
    if one is None or other is None:
        return None
    steps, ci = one.after(other)
    verdict = order(one, other)
    what = "leaves its first level" if onset else "is half of the way"
    where = f"{abs(steps):.0f} steps {'before' if steps < 0 else 'after'}"
    why = "" if verdict != TOGETHER else "; within noise and the grid of checkpoints they may be together"
    text = (
        f"{series.label} {what} {where} {loss.label} (step {one.at:.0f} against {other.at:.0f}; difference "
        f"[{ci[0]:.0f}, {ci[1]:.0f}]{why})."
    )
    id_ = f"development.{'onset_' if onset else ''}order.{series.id}"
    return Claim(id_, text, steps, ci, 0.0, verdict if verdict == TOGETHER else f"{verdict} the loss")


def order(one: Crossing, other: Crossing) -> str:
    """Whether `one` comes before or after `other`, or the grid and noise leave it open."""
    low, high = one.after(other)[1]
    return "before" if high <= 0 and low < 0 else "after" if low >= 0 and high > 0 else TOGETHER


def _since(series: Series) -> str:
    """A quantity that comes into being later than the first checkpoint."""
    return "" if series.steps[0] <= 1 else f" (there is such a number from step {series.steps[0]} on)"
