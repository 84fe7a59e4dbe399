"""Every head's attention on the task's own prompts, streamed."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.induction.reading import Copying, HeadReading, Querying
from mesascope.analyses.scope import Scope
from mesascope.models import HookedRegressor
from mesascope.models.tasks import Regression
from mesascope.probes import Captured, Estimate, capture, jackknifed, token_basis
from mesascope.probes.ablation import attention_layers
from mesascope.probes.attention_scores import (
    TARGETS,
    Sums,
    as_shares,
    copy_sums,
    correlation,
    discrete_sums,
    query_sums,
    ratio,
    similarities,
)
from mesascope.probes.direct_effects import read_direction
from mesascope.probes.token_roles import TokenRoles

N_BLOCKS, STREAM = 20, "induction"
LAST = 3
"""Points at the end of a prompt that trained decoders do not copy, for they hardly matter to the loss."""
FORMS = ("y to x", "x to y")
ESTIMATED = (
    "correlation",
    "shuffled",
    "label",
    "near",
    "mass",
    "uniform",
    "moved",
    "nearest",
    "nearest_shuffled",
    "match",
)
HALF = 0.5
"""The raw share of a point that is copied rather than not."""


@dataclass(frozen=True)
class Attention:
    """All heads of a model on one stream of prompts."""

    heads: tuple[HeadReading, ...]
    unions: dict[int, tuple[Estimate, Estimate]]
    """By layer: the copy score and the raw share if at every point the best head counts."""
    patterns: Float[Tensor, "n_heads pos pos"]
    """The mean over prompts of each head's attention, in signed shares."""
    roles: TokenRoles
    queries: tuple[int, ...]
    """The query points."""
    counted: tuple[int, ...]
    """Those of them that scores are averaged over."""
    away: tuple[int, ...]
    """The points that copy scores are averaged over."""


@dataclass(frozen=True)
class _Plan:
    """What is averaged over what."""

    roles: TokenRoles
    queries: list[int]
    counted: list[int]
    away: list[int]
    chances: Float[Tensor, "2 n_pairs"]
    """What each point's copy score is if keys are permuted, in either direction; 0 where nothing is seen."""

    @property
    def rows(self) -> list[int]:
        """Where the counted query points stand among all of them."""
        return [self.queries.index(point) for point in self.counted]

    @staticmethod
    def of(scope: Scope) -> "_Plan":
        model, n = scope.hooked, scope.task.n_points
        roles = TokenRoles.of(model.cfg.tokens, n, model.cfg.n_dims)
        queries = [point for point in model.read_points(n) if point > 0]
        counted = [point for point in scope.counted_points if point > 1] or queries
        seen = model.attentions[0].mask(len(roles.names)).clone().fill_diagonal_(False).sum(-1).cpu()
        rows = torch.stack([seen[list(roles.y)], seen[list(roles.x[: roles.n_pairs])]])
        chances = (1 / rows.double()).where(rows > 0, 0.0)
        # A token that sees one other attends to it by necessity.
        away = [i for i in range(roles.n_pairs - min(LAST, roles.n_pairs // 4)) if rows[0, i] > 1]
        return _Plan(roles, queries, counted, away or list(range(roles.n_pairs)), chances)


def read_attention(scope: Scope, n_prompts: int) -> Attention:
    """Read every head's attention.

    Args:
        scope: A model with heads.
        n_prompts: How many, in `N_BLOCKS` blocks or more.
    """
    model, plan = scope.hooked, _Plan.of(scope)
    layers = attention_layers(model)
    blocks: dict[str, Tensor] = {}
    patterns = torch.zeros(())
    names = _hooks(model, layers)
    for index, batch in enumerate(capture(model, scope.batches(n_prompts, STREAM, N_BLOCKS), names)):
        compared = similarities(features(model, batch), batch.prompts.ys.double(), plan.queries)
        by_layer = [_layer_sums(scope, batch, layer, compared, plan) for layer in layers]
        for name in by_layer[0][0]:
            found = torch.cat([sums[name] for sums, _ in by_layer]).double()
            if name not in blocks:
                blocks[name] = torch.zeros(N_BLOCKS, *found.shape, dtype=torch.float64)
            blocks[name][index % N_BLOCKS] += found.cpu()
        patterns = patterns + torch.cat([pattern for _, pattern in by_layer]).cpu()
    return _read(model, plan, blocks, patterns / n_prompts)


def _hooks(model: HookedRegressor, layers: list[int]) -> list[str]:
    names = [f"blocks.{layer}.attn.{hook}" for layer in layers for hook in ("hook_pattern", "hook_z")]
    return [*names, *([f"blocks.{layers[0]}.hook_resid_pre"] if layers[0] > 0 else [])]


def features(model: HookedRegressor, batch: Captured) -> Float[Tensor, "batch n_points n_features"]:
    """The x of each point; where layers without attention come first, what they made of it."""
    first = attention_layers(model)[0]
    if first == 0:
        return batch.prompts.xs.double()
    roles = TokenRoles.of(model.cfg.tokens, batch.prompts.n_points, model.cfg.n_dims)
    resid = batch.activations[f"blocks.{first}.hook_resid_pre"][:, list(roles.x)].double()
    return resid @ token_basis(model).value.only("x").directions.to(resid).mT if roles.together else resid


def _layer_sums(
    scope: Scope, batch: Captured, layer: int, compared: dict[str, Tensor], plan: _Plan
) -> tuple[Sums, Float[Tensor, "n_heads pos pos"]]:
    pattern = batch.activations[f"blocks.{layer}.attn.hook_pattern"].double()
    shares = as_shares(pattern)
    sums = query_sums(pattern, compared, plan.roles, plan.queries) | copy_sums(shares, plan.roles)
    sums |= {"n": torch.full_like(sums["self"], len(pattern))}
    xs = batch.prompts.xs.double()
    if scope.hooked.cfg.layout == "sequence":
        sums |= discrete_sums(shares, xs @ xs.mT)
    else:
        nothing = torch.zeros(len(shares), *shares.shape[2:]).to(shares)
        sums |= {name: discrete_sums(shares, nothing)[name] for name in ("previous", "all")}
    if isinstance(scope.task, Regression):
        sums |= _write_sums(scope.hooked, batch, layer, pattern, plan)
    return sums, shares.sum(0)


def _write_sums(model: HookedRegressor, batch: Captured, layer: int, pattern: Tensor, plan: _Plan) -> Sums:
    """Products over prompts of what each head adds to the prediction with the y that it attends to."""
    attention = model.attentions[attention_layers(model).index(layer)]
    rows = [plan.roles.x[point] for point in plan.queries]
    z = batch.activations[f"blocks.{layer}.attn.hook_z"][:, rows].double()
    writes = torch.einsum("bqhd,hdm,m->bhq", z, attention.W_O.detach().double(), read_direction(model))
    ys = batch.prompts.ys.double()[:, : plan.roles.n_pairs]
    attended = torch.einsum("bhqj,bj->bhq", pattern[:, :, rows][..., list(plan.roles.y)], ys)
    return {
        "writes attended": (writes * attended).sum(0),
        "writes": writes.square().sum(0),
        "attended": attended.square().sum(0),
    }


def _read(model: HookedRegressor, plan: _Plan, blocks: dict[str, Tensor], patterns: Tensor) -> Attention:
    totals = {name: value.sum(0) for name, value in blocks.items()}
    readings = _readings(model, plan, totals)
    left_out = [
        _readings(model, plan, {n: totals[n] - value[b] for n, value in blocks.items()}) for b in range(N_BLOCKS)
    ]
    estimates = {
        name: jackknifed(value, torch.stack([one[name] for one in left_out])) for name, value in readings.items()
    }
    shown = _by_point(plan, totals)
    layers = attention_layers(model)
    places = [(layer, head) for layer in layers for head in range(model.cfg.n_heads)]
    heads = tuple(_head(plan, place, index, estimates, shown) for index, place in enumerate(places))
    shared = zip(estimates.get("union", []), estimates.get("union raw", []), strict=True)
    unions = dict(zip(layers, shared, strict=False))  # none where tokens hold x and y
    rest = (tuple(plan.queries), tuple(plan.counted), tuple(plan.away))
    return Attention(heads, unions, patterns, plan.roles, *rest)


def _readings(model: HookedRegressor, plan: _Plan, sums: Sums) -> dict[str, Float[Tensor, " n"]]:
    """Every number that has an interval, by head; all from the same sums, so that a jackknife can leave out a block."""
    rows, n = plan.rows, sums["n"][:, :1]
    found = {
        "self": (sums["self"][:, rows] / n).mean(1),
        "previous": sums["previous"].sum(1) / sums["all"].sum(1).clamp(min=1e-300),
    }
    for target in _targets(plan):
        for column, name in (
            ("correlation", "similar"),
            ("shuffled", "shuffled"),
            ("label", "label"),
            ("near", "near"),
        ):
            found[f"{target} {column}"] = correlation(sums, target, name)[:, rows].mean(1)
        for name in ("mass", "uniform", "moved", "nearest", "nearest shuffled"):
            found[f"{target} {name.replace(' ', '_')}"] = (sums[f"{target} {name}"][:, rows] / n).mean(1)
        matched = ratio(sums[f"{target} match"], sums[f"{target} matchable"])
        found[f"{target} match"] = matched[:, rows].mean(1)
    if "writes" in sums:
        product = (sums["writes"] * sums["attended"]).sqrt()
        found["writes"] = ratio(sums["writes attended"], product)[:, rows].mean(1)
    if not plan.roles.together:
        for form in FORMS:
            raw = (sums[form] / n)[:, plan.away]
            found[form] = _copy_scores(sums, form)[:, plan.away].mean(1)
            found[f"{form} raw"], found[f"{form} away"] = raw.mean(1), raw.flatten()
        scores, raws = [_copy_scores(sums, form) for form in FORMS], [sums[form] / n for form in FORMS]
        for name, forms in (("union", scores), ("union raw", raws)):
            best = [one[:, plan.away].unflatten(0, (-1, model.cfg.n_heads)).amax(1).mean(1) for one in forms]
            found[name] = torch.stack(best).amax(0)
    return found


def _copy_scores(sums: Sums, form: str) -> Float[Tensor, "n_heads n_pairs"]:
    return ratio(sums[form], sums[f"{form} others"])


def _targets(plan: _Plan) -> tuple[str, ...]:
    return ("y",) if plan.roles.together else TARGETS


def _by_point(plan: _Plan, sums: Sums) -> dict[str, Float[Tensor, "n_heads n_points"]]:
    found = {target: correlation(sums, target, "similar") for target in _targets(plan)}
    if not plan.roles.together:
        for form in FORMS:
            found[form], found[f"{form} raw"] = _copy_scores(sums, form), sums[form] / sums["n"][:, :1]
    return found


def _head(
    plan: _Plan,
    place: tuple[int, int],
    index: int,
    estimates: dict[str, list[Estimate]],
    shown: dict[str, Tensor],
) -> HeadReading:
    def at_points(name: str) -> tuple[float, ...]:
        return tuple(shown[name][index].tolist())

    copying = tuple(
        Copying(
            form,
            estimates[form][index],
            estimates[f"{form} raw"][index],
            plan.chances[FORMS.index(form)][plan.away].mean().item(),
            _covered(estimates[f"{form} away"][index * len(plan.away) : (index + 1) * len(plan.away)]),
            at_points(form),
            at_points(f"{form} raw"),
        )
        for form in FORMS
        if form in estimates
    )
    querying = tuple(
        Querying(
            target="(x,y)" if plan.roles.together else target,
            by_point=at_points(target),
            **{name: estimates[f"{target} {name}"][index] for name in ESTIMATED},
        )
        for target in _targets(plan)
    )
    writes = estimates["writes"][index] if "writes" in estimates else None
    return HeadReading(*place, copying, querying, estimates["self"][index], estimates["previous"][index], writes)


def _covered(scores: list[Estimate]) -> Estimate:
    """The part of points that are copied; as if all were at the lower and at the upper end of their intervals."""
    ends = ([getattr(score, end) > HALF for score in scores] for end in ("value", "low", "high"))
    return Estimate(*(sum(above) / len(above) for above in ends))
