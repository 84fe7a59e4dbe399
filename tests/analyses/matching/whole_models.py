"""Small models whose matchings several tests look at."""

from functools import cache

import torch

from mesascope.analyses import attach
from mesascope.analyses.matching import match_weights
from mesascope.models import HookedRegressor, RegressorConfig

D = torch.float64
LSA = RegressorConfig.linear_self_attention
N_POINTS = 9


def matching(model, **fields):
    return match_weights(attach(model, **fields))


@cache
def of_zoo(name):
    scope = attach(f"zoo:{name}")
    return scope, match_weights(scope)


def best(layer):
    assert layer.best is not None
    return layer.best


def with_random_layer(model, layer, seed=0):
    other = HookedRegressor(model.cfg).to(next(model.parameters()).dtype)
    other.load_state_dict(model.state_dict())
    random = HookedRegressor(model.cfg, seed).attentions[layer]
    with torch.no_grad():
        other.attentions[layer].qkv_weight.copy_(random.qkv_weight)
        other.attentions[layer].out_weight.copy_(random.out_weight)
    return other
