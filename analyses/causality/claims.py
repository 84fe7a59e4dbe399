"""What the interchanges say, in sentences."""

from collections.abc import Sequence

from mesascope.analyses.causality.cause import (
    NOT_APART,
    NOT_DECODABLE,
    NOT_USED,
    PARTLY,
    UNDETERMINED,
    USED_,
    ZERO,
    Cause,
)
from mesascope.analyses.claim import Claim, fixed

STRENGTH = (USED_, PARTLY, NOT_USED, UNDETERMINED, NOT_APART, NOT_DECODABLE)
"""Verdicts, that of a model being the strongest of any layer's."""


def cause_claim(cause: Cause) -> Claim:
    """The slope of one variable at one layer, with its nulls."""
    where = "at the query" if cause.site == "query" else f"in {cause.site}"
    r2 = f"read with R² = {fixed(cause.r2.value)} (null {fixed(cause.null_r2)})"
    text = f"Layer {cause.layer}, {cause.variable} {where}: {cause.verdict}; {r2}"
    slope = cause.slope
    if slope is None:
        names = " and ".join(cause.held)
        text += f", of which what {names} do not hold too is {fixed(cause.own)}: it cannot be moved alone"
    else:
        text += f", moved alone the prediction follows with slope {fixed(slope.value)} ({_nulls(cause)})"
    value, ci = (None, None) if slope is None else (slope.value, slope.ci)
    return Claim(f"causality.{cause.id}", text + ".", value, ci, cause.null, cause.verdict)


def _nulls(cause: Cause) -> str:
    """Ceiling, placebo, another readout and untrained twins in brackets."""
    names = {"ceiling": "all of the site", "placebo": "placebo", "mismatched": "another readout"}
    parts = [f"{label} {fixed(cause.slopes.get(name, ZERO).value)}" for name, label in names.items()]
    return ", ".join([*parts, f"untrained twins {fixed(cause.untrained.value)}"])


def model_claim(causes: Sequence[Cause]) -> Claim:
    """The variable that the model is most about: w wherever there is one, otherwise the prediction."""
    w = [cause for cause in causes if cause.variable == "w"]
    verdict = overall(w or causes)
    parts = []
    for variable in dict.fromkeys(cause.variable for cause in causes):
        found = [cause for cause in causes if cause.variable == variable]
        parts.append(f"{variable} is {_where(found)}")
    best = max((cause for cause in w or causes), key=lambda cause: (-STRENGTH.index(cause.verdict), _size(cause)))
    slope = best.slope
    name = f"{best.variable} {verdict}"
    value, ci = (None, None) if slope is None else (slope.value, slope.ci)
    return Claim("causality.model", f"Of what readouts find, {'; '.join(parts)}.", value, ci, best.null, name)


def overall(causes: Sequence[Cause]) -> str:
    """The strongest verdict of any layer."""
    return min((cause.verdict for cause in causes), key=STRENGTH.index)


def _size(cause: Cause) -> float:
    return cause.r2.value if cause.slope is None else cause.slope.value


def _where(causes: Sequence[Cause]) -> str:
    """The strongest verdict of a variable, and where."""
    verdict = overall(causes)
    if verdict == NOT_DECODABLE:
        return "decodable nowhere"
    places: dict[str, list[int]] = {}
    for cause in causes:
        if cause.verdict == verdict:
            places.setdefault(cause.site, []).append(cause.layer)
    words = [f"{site}, {'layers' if len(found) > 1 else 'layer'} {_range(found)}" for site, found in places.items()]
    phrase = "not told apart from what is read better" if verdict == NOT_APART else verdict
    return f"{phrase} ({'; '.join(words)})"


def _range(numbers: Sequence[int]) -> str:
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(map(str, numbers))
