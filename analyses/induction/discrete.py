"""The same heads by the scores that induction heads are known by, on tokens that repeat."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mesascope.analyses.claim import as_json
from mesascope.analyses.induction.attention import N_BLOCKS
from mesascope.analyses.scope import Scope
from mesascope.models import RepeatedSequence
from mesascope.models.attention import LinearAttention
from mesascope.probes import Estimate, capture, jackknife_ratio
from mesascope.probes.ablation import attention_layers
from mesascope.probes.attention_scores import as_shares, discrete_sums
from mesascope.probes.composition import copying_scores, token_circuits

STREAM = "repeated tokens"
SCORES = ("previous", "prefix", "duplicate")


@dataclass(frozen=True)
class DiscreteReading:
    """One head on repeated random tokens."""

    layer: int
    head: int
    previous: Estimate
    """The share of attention on the token before."""
    prefix: Estimate
    """Prefix matching: on tokens that come after an earlier one like the query."""
    duplicate: Estimate
    """On earlier tokens like the query."""
    copying: float | None
    """Σλ/Σ|λ| of its W_OV between tokens: 1 if every token raises its own logit. None if logits are not of tokens."""
    matching: float | None
    """The best cosine, over heads of earlier layers, of its W_QK behind their W_OV with the identity; None in the first
    layer, which has no earlier ones."""
    writing: float | None
    """The cosine of its W_OV between tokens with the identity; None if logits are not of tokens."""
    one_back: float | None
    """The cosine of its W_QK between positions with a step back by one; None if positions are not learned."""

    def data(self) -> dict[str, Any]:
        """All of it."""
        return vars(self) | {name: as_json(getattr(self, name)) for name in SCORES}


def repeated_task(scope: Scope) -> RepeatedSequence:
    """The scope's own task if it is of repeated tokens; otherwise as many random ones, half a prompt long."""
    if isinstance(scope.task, RepeatedSequence):
        return scope.task
    n_dims, n_points = scope.task.n_dims, scope.task.n_points
    return RepeatedSequence(n_dims=n_dims, n_points=n_points, period=n_points // 2)


def read_discrete(scope: Scope, n_prompts: int) -> tuple[DiscreteReading, ...]:
    """Every head on repeated tokens, from the first repetition on; none of models of other tokens.

    Args:
        scope: A model with heads.
        n_prompts: How many, in `N_BLOCKS` blocks or more.

    Source: Olsson et al. (2022), for the scores; Elhage et al. (2021), for circuits between tokens.
    """
    model = scope.hooked
    if model.cfg.layout != "sequence":
        return ()
    task, layers = repeated_task(scope), attention_layers(model)
    on_repeats = Scope(model, task, scope.source, scope.seed)
    sums: dict[str, Tensor] = {}
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in layers]
    for index, batch in enumerate(capture(model, on_repeats.batches(n_prompts, STREAM, N_BLOCKS), names)):
        xs = batch.prompts.xs.double()
        by_layer = [discrete_sums(as_shares(batch.activations[name].double()), xs @ xs.mT) for name in names]
        for name in (*SCORES, "all"):
            found = torch.cat([one[name][:, task.period :].sum(1) for one in by_layer]).cpu()
            sums.setdefault(name, torch.zeros(N_BLOCKS, len(found), dtype=torch.float64))[index % N_BLOCKS] += found
    weights = _by_weights(scope)
    places = [(layer, head) for layer in layers for head in range(model.cfg.n_heads)]
    readings = []
    for at, place in enumerate(places):
        shares: dict[str, Any] = {name: jackknife_ratio(sums[name][:, at], sums["all"][:, at]) for name in SCORES}
        readings.append(DiscreteReading(*place, **(shares | weights[place])))
    return tuple(readings)


def _by_weights(scope: Scope) -> dict[tuple[int, int], dict[str, float | None]]:
    """The circuits of every head between tokens; norms' scales are left out.

    With linear attention the sign of a product means nothing: a head's W_QK and W_OV may both change it.
    """
    model = scope.hooked
    layers = attention_layers(model)
    found: dict[tuple[int, int], dict[str, float | None]] = {}
    for layer, attention in zip(layers, model.attentions, strict=True):
        own = token_circuits(model, layer, layer)
        earlier = [token_circuits(model, other, layer).matching.abs() for other in layers if other < layer]
        columns = {"copying": copying_scores(model, layer), "writing": own.writing, "one_back": own.one_back}
        if isinstance(attention, LinearAttention):
            columns = {name: None if column is None else column.abs() for name, column in columns.items()}
        columns["matching"] = torch.cat(earlier).amax(0) if earlier else None
        for head in range(model.cfg.n_heads):
            found[layer, head] = {n: None if column is None else column[head].item() for n, column in columns.items()}
    return found
