"""What each layer predicts: the readouts' predictions, and the model's own."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.readouts import fit_readouts, layer_label
from mesascope.analyses.scope import Scope
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
    layers = fit_readouts(scope, "y", n_fit).layers
    preds = read_layers(scope.model, prompts, {layer.hook: layer.readout for layer in layers})
    labels = (*(layer_label(hook) for hook in preds), "output")
    return LayerPredictions(labels, torch.stack([*preds.values(), output]), prompts)


def read_layers(
    model: HookedRegressor, prompts: Prompts, readouts: dict[str, LinearReadout]
) -> dict[str, Float[Tensor, "batch n_read"]]:
    """The first target of each hook's readout, on every prompt."""
    parts: dict[str, list[Tensor]] = {hook: [] for hook in readouts}
    for batch in capture(model, prompts.split(1000), list(readouts), read_only=True):
        for hook, resid in batch.activations.items():
            parts[hook].append(readouts[hook].predict(resid)[..., 0])
    return {hook: torch.cat(pieces) for hook, pieces in parts.items()}
