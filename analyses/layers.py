"""What each layer predicts: the readouts' predictions, and the model's own."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.fitting import fitted
from mesascope.analyses.scope import BATCH, Scope
from mesascope.models import HookedRegressor, Prompts
from mesascope.probes import LinearReadout, capture


@dataclass(frozen=True)
class LayerPredictions:
    """Predictions of every layer on the same prompts."""

    labels: tuple[str, ...]
    """The residual stream's stages, then "output"."""
    preds: Float[Tensor, "n_labels batch n_read"]
    prompts: Prompts


def predict_layers(scope: Scope, n_prompts: int, stream: str, n_fit: int) -> LayerPredictions:
    """Each layer's prediction of y through its readout, and the model's output.

    Args:
        scope: Where to look; a bare predictor has only its output.
        n_prompts: Prompts to predict.
        stream: Their stream; must not be the one readouts are fitted on.
        n_fit: Prompts to fit the readouts on.
    """
    prompts = scope.prompts(n_prompts, stream)
    output = scope.predict(prompts)
    if not isinstance(scope.model, HookedRegressor):
        return LayerPredictions(("output",), output[None], prompts)
    preds = read_layers(scope.model, prompts, fitted(scope, "y", n_fit).readouts)
    labels = (*(layer_label(hook) for hook in preds), "output")
    return LayerPredictions(labels, torch.stack([*preds.values(), output]), prompts)


def read_layers(
    model: HookedRegressor, prompts: Prompts, readouts: dict[str, LinearReadout]
) -> dict[str, Float[Tensor, "batch n_read"]]:
    """The first target of each hook's readout, on every prompt."""
    parts: dict[str, list[Tensor]] = {hook: [] for hook in readouts}
    for batch in capture(model, prompts.split(BATCH), list(readouts), read_only=True):
        for hook, resid in batch.activations.items():
            parts[hook].append(readouts[hook].predict(resid)[..., 0])
    return {hook: torch.cat(pieces) for hook, pieces in parts.items()}


def layer_label(hook: str) -> str:
    """A residual hook in words: `blocks.2.hook_resid_post` is "layer 3"."""
    if hook == "ln_final.hook_normalized":
        return "final norm"
    layer = int(hook.split(".")[1])
    return "input" if hook.endswith("resid_pre") else f"layer {layer + 1}"
