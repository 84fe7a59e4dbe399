"""What a spectral response says, sentence by sentence."""

from collections.abc import Sequence

from mesascope.analyses.claim import Claim, fixed
from mesascope.analyses.spectral.layers import MAX_OFF_DIAGONAL, LayerResponse
from mesascope.analyses.spectral.steps import Step


def summary_claim(after: str, layers: Sequence[LayerResponse]) -> Claim:
    """Every layer's verdict; `after` is the prefix in words."""
    labels: dict[str, list[str]] = {}
    for layer in layers:
        labels.setdefault(layer.verdict, []).append(layer.label)
    parts = [f"{', '.join(found)}: {verdict}" for verdict, found in labels.items()]
    like = [verdict for verdict in labels if verdict.startswith(("like ", "between ")) or verdict == "least squares"]
    return Claim(
        id="spectral.layers",
        text=f"{after}, by how each layer recovers w along eigenvectors: {'; '.join(parts)}.",
        value=None,
        ci=None,
        null=None,
        verdict=" / ".join(like) if like else "undetermined" if "undetermined" in labels else "none",
    )


def exponent_claim(after: str, layer: LayerResponse) -> Claim | None:
    """A layer's exponent beside those of exact learners, or that it has converged; none without a response."""
    if not layer.responds or layer.exponent is None:
        return None
    if layer.converged:
        return _least_squares_claim(after, layer)
    p, known = layer.exponent.p, layer.exponent.identified
    of = ", ".join(
        f"{family} {_between(rival.p)} ({fixed(rival.explained)} explained)" for family, rival in layer.rivals.items()
    )
    why = f"; no filter in full: {', '.join(layer.failed_gates)}" if layer.failed_gates else ""
    return Claim(
        id=f"spectral.exponent.{_slug(layer.label)}",
        text=f"{after}, {layer.label} recovers 1 − exp(−τλ^p) of w along an eigenvector with "
        f"{f'p = {fixed(p.value, 2)}' if known else 'a p that the data leave open'} "
        f"(exact learners that predict most alike: {of}; any filter {fixed(layer.response.ceiling.value)}{why}).",
        value=p.value if known else None,
        ci=p.ci if known else None,
        null=None,
        verdict=layer.verdict,
    )


def _least_squares_claim(after: str, layer: LayerResponse) -> Claim:
    share = layer.least_squares
    return Claim(
        id=f"spectral.least_squares.{_slug(layer.label)}",
        text=f"{after}, least squares explains {fixed(share.value)} of what {layer.label} predicts, and any "
        f"filter {fixed(layer.response.ceiling.value)}: it has converged, so that no exponent is left to see.",
        value=share.value,
        ci=share.ci,
        null=None,
        verdict=layer.verdict,
    )


def explained_claim(after: str, layer: LayerResponse) -> Claim:
    """How much of a layer's predictions a filter explains, beside the nulls."""
    share, twins = layer.response.ceiling, layer.untrained
    beside = "" if twins is None else f"untrained twins {fixed(twins.value)}, "
    full = not layer.failed_gates and layer.responds
    return Claim(
        id=f"spectral.explained.{_slug(layer.label)}",
        text=f"{after}, a filter of S explains {fixed(share.value)} of what {layer.label} predicts "
        f"({beside}another prompt's filter {fixed(layer.shuffled.value)}).",
        value=share.value,
        ci=share.ci,
        null=max(layer.shuffled.value, -1.0 if twins is None else twins.value),
        verdict="a filter" if full else "partly a filter" if layer.responds else layer.verdict,
    )


def off_diagonal_claim(after: str, layer: LayerResponse, n_dims: int) -> Claim:
    """How much of a layer's operator no filter reaches."""
    share, verdict = layer.off_diagonal, "undetermined"
    if not layer.responds:
        verdict = layer.verdict
    elif share.high <= MAX_OFF_DIAGONAL:
        verdict = "diagonal"
    elif share.low > MAX_OFF_DIAGONAL:
        verdict = "not diagonal"
    return Claim(
        id=f"spectral.off_diagonal.{_slug(layer.label)}",
        text=f"{after}, {fixed(share.value)} of the energy of the map from w to the {layer.label}'s induced "
        "weights lies off the diagonal of S's eigenbasis, where no filter reaches.",
        value=share.value,
        ci=share.ci,
        null=1 - 1 / n_dims,
        verdict=verdict,
    )


def step_claim(step: Step) -> Claim:
    """A layer as a step of GD++."""
    kind = "a step of GD" if step.gamma is None else "a step of GD++, given the layers before"
    gamma = "" if step.gamma is None else f" on data with γ = {step.gamma}"
    return Claim(
        id=f"spectral.gd_plus_plus.{_slug(step.label)}",
        text=f"{step.label.capitalize()} is {kind}: η = {step.eta}{gamma} explain{'s' if not gamma else ''} "
        f"{fixed(step.r2.value, 4)} of what it predicts (untrained twins {fixed(step.untrained.value, 2)}).",
        value=step.r2.value,
        ci=step.r2.ci,
        null=step.untrained.value,
        verdict=step.verdict,
    )


def _slug(label: str) -> str:
    return label.replace(" ", "")


def _between(ends: tuple[float, float] | None) -> str:
    if ends is None:
        return "of another shape"
    low, high = (fixed(end, 2) for end in ends)
    return low if low == high else f"{low} to {high}"
