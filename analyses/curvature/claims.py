"""One layer's three readings in a sentence."""

from mesascope.analyses.claim import Claim, fixed
from mesascope.analyses.curvature.activations import XUpdate
from mesascope.analyses.curvature.layer import ABSENT, NOT_APPLICABLE, UNDETERMINED, UNREAD, LayerCurvature, four

WHY = {
    UNREAD: "nobody reads what it does to its context's x, for no attention comes after it",
    NOT_APPLICABLE: "x and y of a point come in tokens of their own, where no token's x is transformed for the y "
    "beside it; curvature correction is looked for on joint tokens",
}


def layer_claim(layer: LayerCurvature) -> Claim:
    """γ by the activations with its interval, beside the untrained twins', and the verdict of all readings."""
    id_, verdict, update = f"curvature.layer{layer.number}", layer.verdict, layer.update
    if layer.set_aside is not None or update is None:
        return Claim(id_, f"{layer.label}: {WHY[verdict]}.", None, None, None, verdict)
    text = f"{layer.label}: {verdict}; {_sizes(layer, update)}"
    if verdict != ABSENT:
        text += _without(layer)
    if verdict == UNDETERMINED:
        text += f"; in doubt: {'; '.join(layer.doubts)}"
    null = max(layer.untrained_gamma, key=abs, default=0.0)
    return Claim(id_, text + ".", update.gamma.value, update.gamma.ci, null, verdict)


def _sizes(layer: LayerCurvature, update: XUpdate) -> str:
    """How much x changes, and how much of that is −γSx."""
    size = f"it changes x by {update.size.value:.2g} of its norm"
    if layer.verdict == ABSENT:
        return size
    weights = "" if layer.weights is None else f"; its weights say γ = {four(layer.weights)}"
    return (
        f"{size}, of which −γSx with γ = {four(update.gamma)} explains R² = {fixed(update.r2.value, 4)} (with another "
        f"prompt's S {fixed(update.shuffled.value)}, of untrained twins at most "
        f"{fixed(max(layer.untrained_r2, default=0.0))}){weights}"
    )


def _without(layer: LayerCurvature) -> str:
    if layer.ablation is None:
        return ""
    return (
        f"; without it a typical prompt's loss is {four(layer.ablation.typical)} times as large, where GD++ without "
        f"this γ predicts {layer.ablation.typical_predicted.value:.4g}"
    )
