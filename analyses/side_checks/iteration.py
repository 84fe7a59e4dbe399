"""One layer, applied again and again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.hook_points import HookPoint

from mesascope.analyses.claim import as_json
from mesascope.analyses.side_checks.agreement import BATCH, CONSTRUCTION, N_BLOCKS, estimate
from mesascope.models import HookedRegressor, MesascopeError, Prompts, RegressorConfig
from mesascope.models.attention import Attention
from mesascope.models.interfaces import SlotReadOut
from mesascope.probes import Estimate, Slots, TokenBasis, block_sums, reachable

N_ITERATIONS, DAMPING = 50, 0.75
"""Von Oswald et al. (2023) apply a layer 50 times with λ = .75."""


@dataclass(frozen=True)
class Rollout:
    """Losses behind every iteration of a layer."""

    losses: Mapping[str, tuple[Estimate, ...]]
    """E (ŷ − y)² / E y² by predictor, before the first and behind each iteration."""
    differences: Mapping[str, tuple[Estimate, ...]]
    """(E (ŷ − ŷ')² / E y²)^½ of every predictor, ŷ' the construction's."""
    damping: float
    """Factor on what each iteration adds."""

    def widest(self, name: str) -> int:
        """The iteration behind which a predictor differs most from the construction."""
        return max(range(N_ITERATIONS + 1), key=lambda k: self.differences[name][k].value)

    def data(self) -> dict[str, Any]:
        """Every number."""
        return {
            "damping": self.damping,
            "losses": {name: [as_json(loss) for loss in losses] for name, losses in self.losses.items()},
            "differences": {name: [as_json(k) for k in found] for name, found in self.differences.items()},
        }


def roll_out(models: Mapping[str, HookedRegressor], bases: Mapping[int, TokenBasis], prompts: Prompts) -> Rollout:
    """Apply each model's one layer, or the one that its layers share, `N_ITERATIONS` times, λ times what it adds.

    Args:
        models: By name; one is the `CONSTRUCTION`.
        bases: The slots of each attention layer's tokens.
        prompts: Where the losses are measured.

    Raises:
        MesascopeError: Layers differ, or the model reads its prediction off elsewhere than a slot, so that what it
            holds in between means nothing.

    Source: von Oswald et al. (2023), figure 3.
    """
    ys = prompts.ys[:, -1:].double()
    preds = {name: _paths(iterated(model, bases), prompts) for name, model in models.items()}

    def relative(squares: Float[Tensor, "batch n_steps"], power: float = 1.0) -> tuple[Estimate, ...]:
        sums = block_sums(torch.cat([ys.square(), squares], dim=1).cpu(), min(N_BLOCKS, len(ys)))
        return tuple(estimate(lambda s: (s[1] / s[0]) ** power, sums[:, [0, 1 + k]]) for k in range(N_ITERATIONS + 1))

    return Rollout(
        {name: relative((pred - ys).square()) for name, pred in preds.items()},
        {name: relative((pred - preds[CONSTRUCTION]).square(), 0.5) for name, pred in preds.items()},
        DAMPING,
    )


@torch.no_grad()
def iterated(model: HookedRegressor, bases: Mapping[int, TokenBasis]) -> HookedRegressor:
    """The model with its layer tied to itself `N_ITERATIONS` times.

    A single layer keeps only the entries that could reach the output when it was trained, y written and the query's x
    asked with: nothing has told the others what to be, and iterated they would all be read.

    Raises:
        MesascopeError: Its layers differ, or its read-out is not a slot.
    """
    cfg = model.cfg
    if cfg.n_layers > 1 and not cfg.tied:
        raise MesascopeError(
            f"iteration does not apply: the model's {cfg.n_layers} layers have weights of their own; it takes one "
            "layer, or tied ones"
        )
    if not isinstance(model.unembed, SlotReadOut):
        raise MesascopeError("iteration does not apply: what the stream holds in between is no prediction")
    changes: dict[str, Any] = {"n_layers": N_ITERATIONS, "tied": True, "damping": DAMPING * cfg.damping}
    changes |= {"attention": cfg.attentions[0], "d_mlp": cfg.mlp_widths[0]}
    deep = HookedRegressor(RegressorConfig.model_validate(cfg.model_dump() | changes), model.seed)
    deep = deep.to(next(model.parameters()))
    own = dict(model.named_parameters())  # tied weights come once
    for name, weight in deep.named_parameters():
        weight.copy_(own[name])
    if cfg.n_layers == 1:
        _keep_what_was_trained(deep.attentions[0], bases[0], reachable(bases[0], model, 0))
    return deep


def _keep_what_was_trained(attention: Attention, every: TokenBasis, seen: TokenBasis) -> None:
    queries, writes = _projection(every.query, seen.query), _projection(every.write, seen.write).mT
    attention.W_Q.copy_(queries.to(attention.W_Q) @ attention.W_Q)
    attention.W_O.copy_(attention.W_O @ writes.to(attention.W_O))


def _projection(every: Slots, some: Slots) -> Float[Tensor, "d_model d_model"]:
    """Of the stream's entries onto some slots; whatever is in no slot at all is left out too."""
    places = [every.names.index(name) for name in some.names]
    return torch.linalg.pinv(every.directions)[:, places] @ every.directions[places]


@torch.no_grad()
def _paths(model: HookedRegressor, prompts: Prompts) -> Float[Tensor, "batch n_steps"]:
    """The prediction that the query holds before the first layer and behind each."""
    names, found = model.residual_hooks, []
    for part in prompts.split(BATCH):
        held: list[Tensor] = []

        def read(resid: Tensor, hook: HookPoint, held: list[Tensor] = held) -> None:
            held.append(model.unembed(resid[:, model.read_positions(prompts.n_points)])[:, -1].double())

        model.run_with_hooks(part.xs, part.ys, fwd_hooks=[(name, read) for name in names])
        found.append(torch.stack(held, dim=1))
    return torch.cat(found)
