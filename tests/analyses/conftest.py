from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

from mesascope.analyses import Readouts, Scope, attach, fit_readouts, registry
from mesascope.analyses.identification import discrimination
from mesascope.models import HookedRegressor, LinearRegression, RegressorConfig
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import LogUniform

GARG = Path(__file__).parents[1] / "data" / "garg-d5"
"""A trained decoder in Garg et al.'s format: d=5, 16 points, 4 layers, trained at w_std = 5^-½."""

WIDE = LinearRegression(n_dims=5, n_points=20, inputs=Gaussian(spectrum=LogUniform(kappa=30)))
"""A task on which learners differ."""

STEP_TASK = LinearRegression(n_dims=3, n_points=9)
"""What the constructions below are looked at with: 8 points and the query."""


@contextmanager
def few_prompts(n_prompts: int) -> Iterator[None]:
    """Reports whose analyses score fewer prompts than are worth believing."""
    with pytest.MonkeyPatch.context() as patch:
        quick = partial(registry.identify, n_prompts=n_prompts, n_tune=n_prompts, shifts=False)
        patch.setattr(registry, "identify", quick)
        patch.setattr(discrimination, "N_NEAREST", 2)
        patch.setattr(registry, "measure_response", partial(registry.measure_response, n_prompts=max(n_prompts, 80)))
        patch.setattr(registry, "measure_similarity", partial(registry.measure_similarity, n_prompts=n_prompts))
        patch.setattr(registry, "fit_readouts", partial(registry.fit_readouts, n_scored=200))
        patch.setattr(registry, "measure_performance", partial(registry.measure_performance, n_prompts=200))
        on_features = partial(registry.compare_on_features, n_prompts=100, n_tune=60)
        patch.setattr(registry, "compare_on_features", on_features)
        heads = partial(registry.find_induction, n_prompts=40, n_scored=40, weigh=False)
        patch.setattr(registry, "find_induction", heads)
        patch.setattr(registry, "trace_causes", partial(registry.trace_causes, n_pairs=40))
        yield


@pytest.fixture(scope="session")
def garg() -> Scope:
    return attach(GARG, w_std=5**-0.5)


@pytest.fixture(scope="session")
def garg_readouts(garg: Scope) -> Readouts:
    return fit_readouts(garg, n_prompts=1000, n_scored=1000)


def decoder(seed: int = 0, n_layers: int = 2) -> HookedRegressor:
    """A small untrained decoder."""
    cfg = RegressorConfig(n_dims=3, n_points=8, n_layers=n_layers, n_heads=2, d_model=16, d_head=8, d_mlp=32)
    return HookedRegressor(cfg, seed)


@pytest.fixture(scope="session")
def predicts_y() -> HookedRegressor:
    """One step of gradient descent in linear self-attention: the query's last slot becomes −x_qᵀ Σ y_j x_j / n.

    Source: von Oswald et al. (2023), proposition 1.
    """
    model = HookedRegressor(RegressorConfig.linear_self_attention(3, STEP_TASK.n_points, 1))
    (layer,) = model.attentions
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        layer.W_Q[0, :3, :3] = layer.W_K[0, :3, :3] = torch.eye(3)
        layer.W_V[0, 3, 3], layer.W_O[0, 3, 3] = -1.0, 1 / 8
    return model


@pytest.fixture(scope="session")
def holds_w() -> HookedRegressor:
    """A model whose residual stream holds Σ y_j x_j, one step's w, and which never multiplies it by x_q.

    Slots x | y | 1 | w: the query asks with the constant, keys are y, values x.
    """
    cfg = RegressorConfig(
        n_dims=3,
        n_points=STEP_TASK.n_points,
        n_layers=1,
        n_heads=1,
        d_model=8,
        d_head=3,
        layout="joint",
        attention="linear",
        causal=False,
        query_is_key=False,
        layer_norm=False,
        attention_bias=False,
    )
    model = HookedRegressor(cfg)
    (layer,) = model.attentions
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embed.W_E[:4, :4] = torch.eye(4)
        model.embed.b_E[4] = 1.0
        layer.W_Q[0, 4, 0] = layer.W_K[0, 3, 0] = 1.0
        layer.W_V[0, :3] = layer.W_O[0, :, 5:] = torch.eye(3)
    return model
