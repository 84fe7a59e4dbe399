"""Layers whose nearest construction is known."""

from typing import cast

import torch

from mesascope.analyses.matching.chance import RandomLayers
from mesascope.analyses.matching.families import FAMILIES
from mesascope.analyses.matching.layer_comparison import inside_share, match_layer
from mesascope.analyses.matching.layer_match import FamilyMatch, LayerMatch
from mesascope.analyses.matching.nearest import Nearest
from mesascope.models import (
    HookedRegressor,
    RegressorConfig,
    gradient_descent,
)
from mesascope.models.attention import Attention
from mesascope.probes import Estimate, LayerOperator, Slots, TokenBasis, reachable, token_basis

D = torch.float64


LSA = RegressorConfig.linear_self_attention


BY_NAME = {family.name: family for family in FAMILIES}


GD, GDPP, PGD, PGDPP, COPIES = FAMILIES


N_POINTS = 9


W0 = torch.tensor([0.5, -1.0, 0.25, 2.0], dtype=D)


A = torch.tensor([[0.5, 0.1, 0, 0], [0, 0.3, 0, 0.2], [0, 0, 0.4, 0], [0.1, 0, 0, 0.2]], dtype=D)


LINEAR_IN_THEIR_SCALARS = (GD, GDPP)


def formed(operator):
    """T itself, [value, write, query, key]."""
    return torch.einsum("hvd,hdw,hqe,hke->vwqk", operator.W_V, operator.W_O, operator.W_Q, operator.W_K)


def basis_of(n_x=3, n_y=1, n_positions=0):
    kinds = (("x", n_x), ("y", n_y), ("position", n_positions))
    names = tuple((kind, index) for kind, n in kinds for index in range(n))
    return TokenBasis.of(Slots(names, torch.eye(len(names), dtype=D)))


def random_operator(basis, n_heads=2, d_head=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    sides = (basis.query, basis.key, basis.value)
    Q, K, V = (torch.randn(n_heads, len(side.names), d_head, dtype=D, generator=rng) for side in sides)
    return LayerOperator(Q, K, V, torch.randn(n_heads, d_head, len(basis.write.names), dtype=D, generator=rng))


CHANCE = RandomLayers(0)


def matched(model, layer=-1, n_twins=2, chance=CHANCE):
    """One layer of a model as `match_weights` holds it."""
    layers = [index for index, block in enumerate(model.blocks) if block.attn is not None]
    index, basis = layers[layer], token_basis(model)
    operators = [
        LayerOperator.of(cast(Attention, each.blocks[index].attn), each.cfg.damping)
        for each in (model, *(model.untrained_twin(1000 + seed) for seed in range(n_twins)))
    ]
    return match_layer(
        f"layer {index + 1}",
        operators[0],
        reachable(basis, model, index),
        inside_share(operators[0], basis),
        operators[1:],
        chance,
        model.cfg.n_points - 1,
        model.cfg.read_in == "affine",
    )


def by_name(match):
    return {found.family: found for found in match.matches}


SEEDS = range(3)


def perturbed(eps, n_dims=6, seed=0, n_heads=2, n_layers=1):
    """A gradient step beside which a second head adds a random layer of eps times its norm."""
    plain = gradient_descent(n_dims, N_POINTS, [0.3] * n_layers, dtype=D)
    cfg = RegressorConfig(**(plain.cfg.model_dump() | {"n_heads": n_heads}))
    model = HookedRegressor(cfg, seed).double()
    with torch.no_grad():
        for ours, step in zip(model.attentions, plain.attentions, strict=True):
            noise = LayerOperator.of(ours)
            ours.W_O.mul_(0.0)
            first = noise.head(1)
            ours.W_O[1] = first.W_O[0] * eps * LayerOperator.of(step).norm / first.norm
            for name in ("W_Q", "W_K", "W_V", "W_O"):
                getattr(ours, name)[0] = getattr(step, name)[0]
    return model


def fabricated(distance, null, family="GD", high=None):
    """A match of which only the numbers matter."""
    nearest = Nearest(distance, torch.eye(2), torch.eye(2), {"η": 1.0})
    return FamilyMatch(family, Estimate(distance, distance, high or distance), null, (1.0,), {}, nearest)


def verdict_of(*matches, inside=1.0):
    return LayerMatch("layer 1", 1.0, inside, matches, torch.eye(2), torch.eye(2)).verdict
