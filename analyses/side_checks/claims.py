"""What the side checks say, one sentence each."""

import math
from typing import TYPE_CHECKING

from mesascope.analyses.claim import Claim, fixed
from mesascope.analyses.side_checks.agreement import (
    ALIKE,
    CONSTRUCTION,
    COSINE,
    LOSS_RATIO,
    MODEL,
    NOT_SAME,
    SAME,
    SIMILARITY,
    UNTRAINED,
    Agreement,
)
from mesascope.analyses.side_checks.interpolation import Path
from mesascope.analyses.side_checks.iteration import N_ITERATIONS, Rollout
from mesascope.analyses.side_checks.shifted import Shifted
from mesascope.probes import Estimate

if TYPE_CHECKING:
    from mesascope.analyses.side_checks.side_checks import SideChecks

VALLEY = 1.01
"""Highest loss between two networks, relative to the mixture of both ends', that is no barrier."""


def claims_of(checks: "SideChecks") -> tuple[Claim, ...]:
    """The verdict, then each check that applies."""
    found = [_verdict(checks), _sensitivity(checks), _loss(checks), _errors(checks)]
    if checks.closed_form is not None:
        found.append(_closed_form(checks.closed_form, checks.nulls))
    if isinstance(checks.path, Path):
        found.append(_interpolation(checks.path, checks.untrained_paths))
    found += _shifts(checks.shifts)
    if isinstance(checks.rollout, Rollout):
        found.append(_iteration(checks.rollout))
    return tuple(found)


def _verdict(checks: "SideChecks") -> Claim:
    found = checks.agreement
    text = (
        f"By behaviour the model is {checks.verdict}"
        if checks.verdict != "undetermined"
        else _open(checks.construction)
    )
    text += (
        f": its predictions differ from the construction's by {_size(found.difference, 'y')} (root mean square), "
        f"the ratio of losses is {fixed(found.loss_ratio.value, 4)}, the cosine of sensitivities "
        f"{_cosine(found.cosine)} and that of errors {_cosine(found.similarity)}."
    )
    nearest = min(null.difference.value for null in checks.nulls)
    return Claim("side-checks.verdict", text, found.difference.value, found.difference.ci, nearest, checks.verdict)


def _open(construction: str) -> str:
    return f"Whether the model is {construction} by behaviour is undetermined"


def _sensitivity(checks: "SideChecks") -> Claim:
    found = checks.agreement
    text = (
        f"What a prompt makes of the query, ∂ŷ/∂x_q, has cosine {_cosine(found.cosine)} with the construction's on "
        f"average over prompts, and differs from it by {_size(found.slope_difference, 'its length')}."
    )
    null = max(null.cosine.value for null in checks.nulls)
    verdict = _verdict_of(found.cosine, COSINE, math.inf, SAME, NOT_SAME)
    return Claim("side-checks.sensitivity", text, found.cosine.value, found.cosine.ci, null, verdict)


def _loss(checks: "SideChecks") -> Claim:
    found = checks.agreement
    text = (
        f"The model's loss is {found.loss.value:.4g} of that of predicting zero, the construction's "
        f"{found.other_loss.value:.4g}: {fixed(found.loss_ratio.value, 4)} times."
    )
    null = min((null.loss_ratio.value for null in checks.nulls), key=lambda ratio: abs(ratio - 1))
    verdict = _verdict_of(found.loss_ratio, 1 / LOSS_RATIO, LOSS_RATIO, SAME, NOT_SAME)
    return Claim("side-checks.loss", text, found.loss_ratio.value, found.loss_ratio.ci, null, verdict)


def _errors(checks: "SideChecks") -> Claim:
    found = checks.agreement.similarity
    text = f"The errors of model and construction have cosine {_cosine(found)} over prompts."
    null = max(null.similarity.value for null in checks.nulls)
    verdict = _verdict_of(found, SIMILARITY, math.inf, SAME, NOT_SAME)
    return Claim("side-checks.errors", text, found.value, found.ci, null, verdict)


def _closed_form(found: Agreement, nulls: tuple[Agreement, ...]) -> Claim:
    text = (
        f"The best single step in closed form has a loss of {found.other_loss.value:.4g} of that of predicting zero; "
        f"the model's is {fixed(found.loss_ratio.value, 4)} times that, with cosines of {_cosine(found.cosine)} of "
        f"sensitivities and {_cosine(found.similarity)} of errors."
    )
    null = min((null.loss.value / found.other_loss.value for null in nulls), key=lambda ratio: abs(ratio - 1))
    verdict = {SAME: "the optimal step", NOT_SAME: "not the optimal step"}.get(found.verdict, found.verdict)
    return Claim("side-checks.closed-form", text, found.loss_ratio.value, found.loss_ratio.ci, null, verdict)


def _interpolation(path: Path, nulls: tuple[Path, ...]) -> Claim:
    worst, halfway = path.barrier, path.halfway
    text = (
        f"On the way from the model's weights to the construction's the loss is at most {fixed(worst.value, 4)} times "
        f"the mixture of the losses at both ends, and {fixed(halfway.value, 4)} times halfway"
    )
    null = min((other.barrier.value for other in nulls), default=None)
    if null is not None:
        text += f"; on the way to an untrained twin {f'{null:.3g} times' if null < math.inf else 'it diverges'}"
    verdict = _verdict_of(worst, -math.inf, VALLEY, "no barrier", "a barrier")
    return Claim("side-checks.interpolation", f"{text}.", worst.value, worst.ci, null, verdict)


def _shifts(shifts: tuple[Shifted, ...]) -> list[Claim]:
    """Where the construction predicts better than zero, and where it overshoots."""
    moved = [shift for shift in shifts if not shift.in_distribution]
    learned = [shift for shift in moved if shift.losses[CONSTRUCTION].value < 1]
    beyond = [shift for shift in moved if shift.losses[CONSTRUCTION].value >= 1]
    return [*([_learned(learned)] if learned else []), *([_overshot(beyond)] if beyond else [])]


def _learned(shifts: list[Shifted]) -> Claim:
    widest = max(shifts, key=lambda shift: shift.differences[MODEL].value)
    found, null = widest.differences[MODEL], min(shift.differences[UNTRAINED].value for shift in shifts)
    text = (
        f"Under {len(shifts)} shifts of x, w or labels the model's predictions differ from the construction's by at "
        f"most {_size(found, 'y')} ({_losses(widest)})."
    )
    verdict = _verdict_of(found, -math.inf, ALIKE, "alike under shifts", "not alike under shifts")
    return Claim("side-checks.shifts", text, found.value, found.ci, null, verdict)


def _overshot(shifts: list[Shifted]) -> Claim:
    """There a difference relative to y says little."""
    widest = max(shifts, key=lambda shift: shift.shares[MODEL].value)
    found, null = widest.shares[MODEL], min(shift.shares[UNTRAINED].value for shift in shifts)
    text = (
        f"Where the construction is worse than predicting zero ({' and '.join(shift.label for shift in shifts)}), the "
        f"model's predictions differ from it by at most {_size(found, 'its error')} ({_losses(widest)})."
    )
    verdict = _verdict_of(found, -math.inf, ALIKE, "overshoots alike", "overshoots otherwise")
    return Claim("side-checks.overshoot", text, found.value, found.ci, null, verdict)


def _losses(shift: Shifted) -> str:
    mine, theirs = (shift.losses[name].value for name in (MODEL, CONSTRUCTION))
    return f"{shift.label}: losses {mine:.4g} and {theirs:.4g} of that of predicting zero"


def _iteration(rollout: Rollout) -> Claim:
    step = rollout.widest(MODEL)
    found, null = rollout.differences[MODEL][step], rollout.differences[UNTRAINED][step].value
    ends = [rollout.losses[name][-1].value for name in (MODEL, CONSTRUCTION)]
    text = (
        f"Iterated {N_ITERATIONS} times with damping {rollout.damping:g}, the layer's loss comes to {ends[0]:.3g} of "
        f"that of predicting zero and the construction's to {ends[1]:.3g}; their predictions differ most behind "
        f"iteration {step}, by {_size(found, 'y')}."
    )
    verdict = _verdict_of(found, -math.inf, ALIKE, "alike when iterated", "not alike when iterated")
    return Claim("side-checks.iteration", text, found.value, found.ci, null, verdict)


def _verdict_of(found: Estimate, low: float, high: float, yes: str, no: str) -> str:
    """What holds within the bounds, what does not, or "undetermined" where the interval straddles one of them."""
    if found.low >= low and found.high <= high:
        return yes
    return no if found.high < low or found.low > high else "undetermined"


def _size(found: Estimate, what: str) -> str:
    return f"{100 * found.value:.2g}% of {what}" if found.value < 2 else f"{found.value:.3g} times {what}"


def _cosine(found: Estimate) -> str:
    return fixed(found.value, 5)
