"""What the interchanges say, in sentences."""

from collections.abc import Sequence
from math import isfinite

from mesascope.analyses.causality.cause import (
    AS_UNTRAINED,
    NOT_APART,
    NOT_DECODABLE,
    STRENGTH,
    Cause,
)
from mesascope.analyses.causality.effects import Effects
from mesascope.analyses.claim import Claim, fixed
from mesascope.probes import Estimate


def cause_claim(cause: Cause) -> Claim:
    """The slope of one variable at one layer, with its nulls."""
    where = "at the query" if cause.site == "query" else f"in {cause.site}"
    nulls = f"another prompt's {fixed(cause.mismatched_r2.value)}, untrained twins {_measured(cause.untrained_r2)}"
    r2 = f"read with R² = {fixed(cause.r2.value)} ({nulls})"
    text = f"Layer {cause.layer}, {cause.variable} {where}: {cause.verdict}; {r2}"
    slope = cause.slope
    if slope is not None and not isfinite(slope.value):
        text += ", moved alone the prediction leaves all numbers"
    elif slope is not None:
        # What is read of nothing predicts nothing, and a slope on that is noise.
        said = cause.as_read is not None and cause.verdict != NOT_DECODABLE
        of_reading = f"{_measured(cause.as_read)} of what the reading predicts; " if said else ""
        text += f", moved alone the prediction follows with slope {fixed(slope.value)} ({of_reading}{_nulls(cause)})"
    elif cause.held:
        names = " and ".join(cause.held)
        text += f", of which {fixed(cause.own)} is not in what is read of {names}: it cannot be moved alone"
    else:
        text += ", what is read does not vary and cannot be moved"
    value, ci = _number(slope)
    return Claim(f"causality.{cause.id}", text + ".", value, ci, cause.null, cause.verdict)


def _number(slope: Estimate | None) -> tuple[float, tuple[float, float]] | tuple[None, None]:
    """Value and interval; none of what was not measured or left all numbers."""
    return (None, None) if slope is None or not isfinite(slope.value) else (slope.value, slope.ci)


def _nulls(cause: Cause) -> str:
    """Ceiling, placebo, another readout and untrained twins in brackets."""
    names = {"ceiling": "all of the site", "placebo": "placebo", "mismatched": "another readout"}
    parts = [f"{label} {_measured(cause.slopes.get(name))}" for name, label in names.items()]
    return ", ".join([*parts, f"untrained twins {_measured(cause.untrained)}"])


def _measured(estimate: Estimate | None) -> str:
    return "not measured" if estimate is None else fixed(estimate.value)


def model_claim(causes: Sequence[Cause]) -> Claim:
    """The variable that the model is most about: w wherever there is one, otherwise the prediction."""
    w = [cause for cause in causes if cause.variable == "w"]
    verdict = overall(w or causes)
    best = max((cause for cause in w or causes), key=lambda cause: (-STRENGTH.index(cause.verdict), _size(cause)))
    parts = []
    # The number's own variable is in the first clause, which is all that a report's opening may have of this.
    for variable in dict.fromkeys([best.variable, *(cause.variable for cause in causes)]):
        found = [cause for cause in causes if cause.variable == variable]
        parts.append(f"{variable} is {_where(found)}")
    name, text = f"{best.variable} {verdict}", f"Of what readouts find, {'; '.join(parts)}."
    value, ci = _number(best.slope)
    return Claim("causality.model", text, value, ci, best.null, name)


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
    if verdict == AS_UNTRAINED:
        return "decodable nowhere better than in untrained twins"
    places: dict[str, list[int]] = {}
    for cause in causes:
        if cause.verdict == verdict:
            places.setdefault(cause.site, []).append(cause.layer)
    words = [f"{site}, {'layers' if len(found) > 1 else 'layer'} {_range(found)}" for site, found in places.items()]
    phrase = "not told apart from what is read better" if verdict == NOT_APART else verdict
    return f"{phrase} ({' and '.join(words)})"


def _range(numbers: Sequence[int]) -> str:
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(map(str, numbers))


def effect_claims(effects: Effects) -> tuple[Claim, ...]:
    """The component that writes most of the prediction, and the one that it can least do without."""
    ablated = [(effect.loss, effect.label) for effect in effects.components if effect.loss is not None]
    loss, label = max(ablated, key=lambda pair: pair[0].value)
    own = effects.loss
    return (
        _direct_claim(effects),
        Claim(
            "causality.ablation",
            f"Held at its mean, {label} costs the most: the squared error is {loss.value:.3g} of E y², with it "
            f"{own.value:.3g}.",
            loss.value,
            loss.ci,
            own.value,
            label if loss.low > own.high else "undetermined",
        ),
    )


def _direct_claim(effects: Effects) -> Claim:
    shares = [(effect.share, effect.label) for effect in effects.components if effect.share is not None]
    if not shares:
        text = "The prediction is the same on every prompt: no component writes a part of its variance."
        return Claim("causality.direct", text, None, None, None, "the prediction is constant")
    written = sorted(shares, key=lambda pair: -abs(pair[0].value))
    share, label = written[0]
    parts = ", ".join(f"{label} {fixed(share.value)}" for share, label in written[:5])
    text = f"Of the prediction's variance, the largest parts are written by {parts}."
    verdict = label if share.low > 0 or share.high < 0 else "undetermined"
    return Claim("causality.direct", text, share.value, share.ci, 0.0, verdict)
