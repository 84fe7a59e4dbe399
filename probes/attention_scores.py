"""What a head attends to, as sums over prompts: is it the query's neighbour, are they points like the query?"""

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.probes.token_roles import TokenRoles

Pattern = Float[Tensor, "batch n_heads query key"]
TARGETS = ("x", "y")
"""The kinds of tokens that a query attends to."""
COMPARED = ("similar", "shuffled", "label", "near")
"""What attention is correlated with: ⟨x_q, x_j⟩, that of another prompt, y_j, and −‖x_q − x_j‖²."""
Sums = dict[str, Tensor]
"""Sums over prompts by name, each `[n_heads, n_points]`; they add."""


def as_shares(pattern: Pattern) -> Pattern:
    """Shares of each query's absolute attention; linear attention has signs and no normalisation."""
    return pattern / pattern.abs().sum(-1, keepdim=True).clamp(min=torch.finfo(pattern.dtype).tiny)


def similarities(
    features: Float[Tensor, "batch n_points n_features"], ys: Float[Tensor, "batch n_points *d_y"], queries: list[int]
) -> dict[str, Float[Tensor, "batch n_queries n_points"]]:
    """What each query point's attention to each point is compared with, by the names in `COMPARED`."""
    products = features @ features.mT
    squares = products.diagonal(dim1=1, dim2=2)
    near = (2 * products - squares[:, :, None] - squares[:, None, :])[:, queries]
    similar = products[:, queries]
    label = ys if ys.ndim == 2 else ys[..., 0]
    return {
        "similar": similar,
        "shuffled": similar.roll(1, dims=0),
        "label": label[:, None, :].expand_as(similar),
        "near": near,
    }


def query_sums(
    pattern: Pattern,
    compared: dict[str, Float[Tensor, "batch n_queries n_points"]],
    roles: TokenRoles,
    queries: list[int],
) -> Sums:
    """What the queries' tokens attend to, a column for each query point.

    Over the points before the query, by their tokens of x and by those of y:

    - `mass`: the share of all attention; `self`: that on the query's own token.
    - `uniform`: 1 − Σ_j |p_j − 1/t| t/(2(t−1)) over attention p_j within the group: 1 if all points have the same.
    - `moved`: ½ Σ_j |p_j − mean p| over attention p_j of all: what would have to move for all points to get the same.
    - `nearest`: the share within the group on the largest ⟨x_q, x_j⟩; `nearest shuffled` with another prompt's x.
    - `match`, `matchable`: Σ_j p_j (s_j − mean s) with p_j of all attention and s_j = ⟨x_q, x_j⟩, and max s − mean s.
      Their ratio is 1 where everything is on the most similar point: prefix matching of real-valued tokens.
    - `aa`, and for each of `COMPARED` `as` and `ss`: products of attention and that, both centred within the prompt.

    Args:
        pattern: Attention as the layer has it: correlations are of that, all else of its shares.
        compared: See `similarities`.
        roles: Which token holds what.
        queries: The query points, in the order of `compared`'s rows.
    """
    rows = pattern[:, :, [roles.x[t] for t in queries]]
    shares = as_shares(rows)
    sums: Sums = {"self": torch.stack([shares[:, :, i, roles.x[t]].abs().sum(0) for i, t in enumerate(queries)], dim=1)}
    # The last point's y is nobody's context: it counts for x alone where there is a query behind it.
    groups = {"y": roles.y} if roles.together else {"x": roles.x, "y": roles.y}
    for target, places in groups.items():
        seen = torch.tensor([[j < t for j in range(len(places))] for t in queries], device=rows.device)
        held, raw = (attention[..., list(places)] * seen for attention in (shares, rows))
        restricted = {name: s[..., : len(places)] for name, s in compared.items()}
        sums |= {f"{target} {name}": value for name, value in _group_sums(held, raw, restricted, seen).items()}
    return sums


def _group_sums(held: Tensor, raw: Tensor, compared: dict[str, Tensor], seen: Tensor) -> Sums:
    """The sums of one group of tokens; shares and raw attention are zero where a query does not see them."""
    n_seen = seen.sum(-1).to(held)
    within = held.abs() / held.abs().sum(-1, keepdim=True).clamp(min=1e-300)
    even = seen.to(held) / n_seen.clamp(min=1)[:, None]
    spread = (within - even).abs().sum(-1) * (n_seen / (2 * (n_seen - 1)).clamp(min=1))
    similar, a, moved = compared["similar"], _centred(raw, seen), _centred(held, seen).abs().sum(-1) / 2
    means = (similar * even).sum(-1)
    tops = similar.masked_fill(~seen, -torch.inf).amax(-1).where(n_seen > 0, means)
    sums = {
        "mass": held.abs().sum(-1).sum(0),
        "uniform": (1 - spread).sum(0),
        "moved": moved.sum(0),
        "nearest": _on_the_largest(within, similar, seen),
        "nearest shuffled": _on_the_largest(within, compared["shuffled"], seen),
        "match": torch.einsum("bhqj,bqj->hq", held, (similar - means[..., None]) * seen),
        "matchable": (tops - means).sum(0).expand(held.shape[1], -1),
        "aa": a.square().sum((0, 3)),
    }
    for name, values in compared.items():
        s = _centred(values, seen)
        sums[f"as {name}"] = torch.einsum("bhqj,bqj->hq", a, s)
        sums[f"ss {name}"] = s.square().sum((0, 2)).expand(held.shape[1], -1)
    return sums


def _centred(values: Tensor, seen: Tensor) -> Tensor:
    """Minus its mean over the points that are seen, zero elsewhere."""
    values = values * seen
    return (values - values.sum(-1, keepdim=True) / seen.sum(-1).clamp(min=1)[:, None].to(values)) * seen


def _on_the_largest(within: Tensor, similar: Tensor, seen: Tensor) -> Tensor:
    largest = similar.masked_fill(~seen, -torch.inf).argmax(-1)  # [batch, query]; the first where nothing is seen
    index = largest[:, None, :, None].expand(*within.shape[:3], 1)
    return within.gather(-1, index)[..., 0].sum(0)


def copy_sums(shares: Pattern, roles: TokenRoles) -> Sums:
    """How much the tokens of each point attend to each other, a column for each point; none if they are one.

    `y to x` is the share of the attention of y's token on its own x, `x to y` the reverse; `… others` is the share that
    each has on all tokens but itself.
    """
    if roles.together:
        return {}
    n = roles.n_pairs
    sums: Sums = {}
    for name, rows, columns in (("y to x", roles.y, roles.x[:n]), ("x to y", roles.x[:n], roles.y)):
        sums[name] = shares[:, :, list(rows), list(columns)].abs().sum(0)
        sums[f"{name} others"] = _others(shares, list(rows))
    return sums


def _others(shares: Pattern, rows: list[int]) -> Tensor:
    """The share on all tokens but itself; a query that sees none has none."""
    absolute = shares[:, :, rows].abs()
    own = torch.stack([absolute[:, :, index, row] for index, row in enumerate(rows)], dim=2)
    return (absolute.sum(-1) - own).clamp(min=0).sum(0)


def discrete_sums(shares: Pattern, similar: Float[Tensor, "batch n_tokens n_tokens"]) -> Sums:
    """Olsson's scores over all tokens of a sequence, a column for each query token.

    `previous`: the share of attention on the token before. `prefix`: on tokens that come after an earlier one like the
    query. `duplicate`: on earlier tokens like the query. `all`: all of it.

    Args:
        shares: Shares of attention.
        similar: 1 for equal tokens, 0 for others.

    Source: Olsson et al. (2022), "prefix matching"; the three are those of `transformer_lens.head_detector` with
    `error_measure="mul"`, whose score is a ratio of sums over all queries.
    """
    absolute, earlier = shares.abs(), similar.tril(-1)
    follows = torch.nn.functional.pad(
        earlier[..., :-1], (1, 0)
    )  # of key j: whether the one before it is like the query
    previous = torch.zeros_like(absolute[..., 0])
    previous[..., 1:] = absolute.diagonal(-1, 2, 3)
    return {
        "previous": previous.sum(0),
        "prefix": torch.einsum("bhqj,bqj->hq", absolute, follows),
        "duplicate": torch.einsum("bhqj,bqj->hq", absolute, earlier),
        "all": absolute.sum(-1).sum(0),
    }


def correlation(sums: Sums, target: str, name: str) -> Float[Tensor, "n_heads n_points"]:
    """Of attention with one of `COMPARED`, within prompts and pooled over them, by query point; 0 if nothing varies."""
    product = (sums[f"{target} aa"] * sums[f"{target} ss {name}"]).sqrt()
    return (sums[f"{target} as {name}"] / product.clamp(min=1e-300)).where(product > 0, 0.0)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Zero where there is nothing to divide by."""
    return (numerator / denominator.clamp(min=1e-300)).where(denominator > 0, 0.0)
