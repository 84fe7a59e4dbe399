"""What each layer predicts: the readouts' predictions, and the model's own."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.fitting import fitted
from mesascope.analyses.scope import BATCH, Scope
from mesascope.models import HookedRegressor, Prompts
from mesascope.models.interfaces import SlotReadOut
from mesascope.probes import LinearReadout, capture

OUTPUT = "output"
"""The label of the model's own prediction."""


@dataclass(frozen=True)
class LayerPredictions:
    """Predictions of every layer on the same prompts."""

    labels: tuple[str, ...]
    """The residual stream's stages, then "output"."""
    preds: Float[Tensor, "n_labels batch n_read"]
    prompts: Prompts


def predict_layers(scope: Scope, n_prompts: int, stream: str, n_fit: int) -> LayerPredictions:
    """Each layer's prediction of y through its reading, and the model's output.

    Where tokens are the residual stream, so that the model's own read-out means the same at every layer, it is that;
    otherwise a readout fitted to y.

    Args:
        scope: Where to look; a bare predictor has only its output.
        n_prompts: Prompts to predict.
        stream: Their stream; must not be the one readouts are fitted on.
        n_fit: Prompts to fit the readouts on.
    """
    return predict_layers_on(scope, scope.prompts(n_prompts, stream), n_fit)


def predict_layers_on(scope: Scope, prompts: Prompts, n_fit: int) -> LayerPredictions:
    """The same on prompts that are at hand."""
    if not isinstance(scope.model, HookedRegressor):
        return LayerPredictions((OUTPUT,), scope.predict(prompts)[None], prompts)
    preds = read_layers(scope.model, prompts, layer_readers(scope, n_fit))
    scope.refuse_non_finite(preds[OUTPUT])
    return LayerPredictions(tuple(map(layer_label, preds)), torch.stack(list(preds.values())), prompts)


Reader = Callable[[Float[Tensor, "batch n_read d_model"]], Float[Tensor, "batch n_read"]]
"""What a layer predicts, from its residual stream at the points that the model reads."""


def layer_readers(scope: Scope, n_fit: int) -> dict[str, Reader]:
    """How to read each stage of the residual stream: the model's own way if its tokens are the stream, or fitted."""
    model = scope.hooked
    if isinstance(model.unembed, SlotReadOut):
        return dict.fromkeys(model.residual_hooks, model.unembed)
    readouts = fitted(scope, "y", n_fit).readouts
    return {hook: _first_target(readout) for hook, readout in readouts.items()}


def _first_target(readout: LinearReadout) -> Reader:
    return lambda resid: readout.predict(resid)[..., 0]


def read_layers(
    model: HookedRegressor, prompts: Prompts, readers: dict[str, Reader]
) -> dict[str, Float[Tensor, "batch n_read"]]:
    """Each stage's prediction on every prompt, and then the model's own as `OUTPUT`."""
    parts: dict[str, list[Tensor]] = {name: [] for name in (*readers, OUTPUT)}
    for batch in capture(model, prompts.split(BATCH), list(readers), read_only=True):
        for hook, resid in batch.activations.items():
            parts[hook].append(readers[hook](resid).double())
        parts[OUTPUT].append(batch.preds.double())
    return {hook: torch.cat(pieces) for hook, pieces in parts.items()}


def as_subject(label: str) -> str:
    """A layer's label as the subject of a sentence."""
    return "The output" if label == OUTPUT else f"The reading of {label}"


def layer_label(hook: str) -> str:
    """A residual hook in words: `blocks.2.hook_resid_post` is "layer 3"."""
    if hook == OUTPUT:
        return OUTPUT
    if hook == "ln_final.hook_normalized":
        return "final norm"
    layer = int(hook.split(".")[1])
    return "input" if hook.endswith("resid_pre") else f"layer {layer + 1}"
