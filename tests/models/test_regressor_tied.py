"""Layers that share their weights, against layers that do not."""

import pytest
import torch

from mesascope.models import HookedRegressor, LinearRegression, RegressorConfig

LSA = RegressorConfig.linear_self_attention(n_dims=3, n_points=6, n_layers=3)
DECODER = RegressorConfig(n_dims=3, n_points=6, n_layers=2, n_heads=2, d_model=8, d_head=4, d_mlp=16)
PROMPTS = LinearRegression(n_dims=3, n_points=6).sample(5, seed=0, dtype=torch.float64)


def tied_and_untied(cfg):
    """A model with tied layers and an untied one with its weights copied into every layer."""
    tied = HookedRegressor(cfg.model_copy(update={"tied": True}), seed=2).double()
    untied = HookedRegressor(cfg, seed=3).double()
    with torch.no_grad():
        for name, parameter in untied.named_parameters():
            parameter.copy_(tied.get_parameter(name))
    return tied, untied


TIED = {
    "lsa": LSA,
    "decoder": DECODER,
    "lstm": RegressorConfig(n_dims=3, n_points=6, n_layers=3, d_model=8, block="lstm"),
}
every_tied = pytest.mark.parametrize("cfg", TIED.values(), ids=TIED.keys())


@every_tied
def test_tied_layers_compute_what_untied_ones_with_the_same_weights_do(cfg):
    tied, untied = tied_and_untied(cfg)
    assert torch.equal(tied(PROMPTS.xs, PROMPTS.ys), untied(PROMPTS.xs, PROMPTS.ys))


@every_tied
def test_tied_weights_are_those_of_the_first_layer_once(cfg):
    tied, untied = tied_and_untied(cfg)
    assert set(tied.weights) == {name for name in untied.weights if not name.startswith(("blocks.1", "blocks.2"))}
    assert HookedRegressor(cfg).weights.keys() == untied.weights.keys()


@every_tied
def test_the_gradient_of_tied_weights_is_the_sum_over_layers(cfg):
    tied, untied = tied_and_untied(cfg)
    for model in (tied, untied):
        model(PROMPTS.xs, PROMPTS.ys).square().sum().backward()
    for name, parameter in tied.named_parameters():
        names = [name]
        if name.startswith("blocks.0."):
            names = [name.replace("blocks.0.", f"blocks.{layer}.") for layer in range(cfg.n_layers)]
        total = torch.stack([untied.get_parameter(each).grad for each in names]).sum(0)
        torch.testing.assert_close(parameter.grad, total)


@every_tied
def test_tied_layers_stay_tied_when_the_model_is_cast_and_twinned(cfg):
    model = HookedRegressor(cfg.model_copy(update={"tied": True})).double().float()
    for each in (model, model.untrained_twin(seed=1)):
        first, *others = (dict(block.named_parameters()) for block in each.blocks)
        for other in others:
            assert first.keys() == other.keys() and all(first[name] is other[name] for name in first)


def test_the_hooks_of_tied_layers_are_their_own():
    tied, untied = tied_and_untied(TIED["lsa"])
    zero = [("blocks.1.attn.hook_z", lambda value, hook: torch.zeros_like(value))]
    changed = tied.run_with_hooks(PROMPTS.xs, PROMPTS.ys, fwd_hooks=zero)
    torch.testing.assert_close(changed, untied.run_with_hooks(PROMPTS.xs, PROMPTS.ys, fwd_hooks=zero))
    assert not torch.allclose(changed, tied(PROMPTS.xs, PROMPTS.ys))
    _, cache = tied.run_with_cache(PROMPTS.xs, PROMPTS.ys)
    assert not torch.allclose(cache["z", 0], cache["z", 1])
