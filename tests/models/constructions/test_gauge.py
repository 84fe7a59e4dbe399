import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, RegressorConfig, newton, regauge
from mesascope.models.constructions.gauge import _invertible, has_free_basis
from mesascope.models.streams import generator
from tests.models.constructions.specimens import SPECIMENS, products
from tests.models.families import FAMILIES, changed, prompts_of

D = torch.float64
FIXED = ("lstm", "tied lstm", "sine-gd")
_PLAIN = changed(FAMILIES["decoder"], layer_norm=False)
_BESIDE = dict(positions="sinusoidal", d_position=4)
MODELS = {name: cfg for name, cfg in FAMILIES.items() if name not in FIXED} | {
    "no norm": _PLAIN,
    "no norm, tied": changed(_PLAIN, tied=True),
    "no norm, linear mlp": changed(_PLAIN, mlp_activation="linear"),
    "no norm, no bias": changed(_PLAIN, attention_bias=False, mlp_bias=False),
    "no norm, damped": changed(_PLAIN, damping=0.5),
    "no norm, linear": changed(_PLAIN, attention="linear"),
    "no norm, relu": changed(_PLAIN, attention="relu"),
    "no norm, code beside": changed(_PLAIN, d_model=12, **_BESIDE),
    "no attention": changed(_PLAIN, attention="none"),
    "a frozen layer": changed(_PLAIN, attention=("linear", "gradient_step"), n_heads=1, d_head=8),
}
FREE = {name for name in MODELS if name.startswith("no ")}
"""Models whose residual stream has no basis of its own."""


def random_model(name, seed=1):
    """With biases and norms of their own too, so that none is forgotten."""
    model = HookedRegressor(MODELS[name], seed).double()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
    return model


def assert_same_predictions(model, other, prompts):
    expected = model(prompts.xs, prompts.ys)
    difference = (other(prompts.xs, prompts.ys) - expected).abs().max()
    assert difference <= 1e-9 * expected.abs().max()


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_regauged_construction_predicts_the_same_with_other_weights(name):
    model = SPECIMENS[name].build(D)
    other = regauge(model, seed=0)
    assert_same_predictions(model, other, SPECIMENS[name].prompts())
    for ours, theirs in zip(model.attentions, other.attentions, strict=True):
        assert not torch.allclose(ours.qkv_weight, theirs.qkv_weight)
        assert not torch.allclose(ours.out_weight, theirs.out_weight)


@pytest.mark.parametrize("name", MODELS)
def test_a_regauged_model_predicts_the_same_with_other_weights(name):
    model = random_model(name)
    other = regauge(model, seed=0)
    assert other is not model and other.cfg == model.cfg and other.seed == model.seed
    assert_same_predictions(model, other, prompts_of(model.cfg))
    assert any(not torch.allclose(weight, other.weights[name]) for name, weight in model.weights.items())


@settings(max_examples=25)
@given(st.sampled_from(sorted(MODELS)), st.integers(0, 2**20))
def test_no_gauge_changes_the_predictions(name, seed):
    model = random_model(name)
    assert_same_predictions(model, regauge(model, seed), prompts_of(model.cfg))


@pytest.mark.parametrize("name", [name for name in MODELS if name not in FREE])
def test_where_the_residual_stream_has_a_basis_only_heads_change(name):
    """A norm, a clip, slots or a frozen layer read the residual stream entry by entry."""
    model = random_model(name)
    other = regauge(model, seed=0)
    for each, weight in model.weights.items():
        same = torch.equal(weight, other.weights[each])
        assert same != ("attn.qkv" in each or "attn.out_weight" in each), each
    for ours, theirs in zip(model.attentions, other.attentions, strict=True):
        T, other_T = (torch.einsum("hab,hcd->abcd", *products(each)) for each in (ours, theirs))
        if "softmax" not in model.cfg.attentions:
            torch.testing.assert_close(T, other_T)  # the layer's operator is free of gauge


@pytest.mark.parametrize("name", sorted(FREE))
def test_where_it_has_none_it_is_rotated(name):
    model, prompts = random_model(name), prompts_of(MODELS[name])
    assert has_free_basis(model.cfg)
    ours, theirs = (
        each.run_with_cache(prompts.xs, prompts.ys, names_filter="*hook_resid_post")[1]
        for each in (model, regauge(model, seed=0))
    )
    for layer in range(2):
        before, after = ours["resid_post", layer], theirs["resid_post", layer]
        assert not torch.allclose(before, after)
        torch.testing.assert_close(before @ before.mT, after @ after.mT)  # a rotation keeps all products


def test_the_columns_of_a_code_beside_the_tokens_are_left_alone():
    name = "no norm, code beside"
    model, prompts = random_model(name), prompts_of(MODELS[name])
    ours, theirs = (
        each.run_with_cache(prompts.xs, prompts.ys)[1]["resid_post", 1] for each in (model, regauge(model, seed=0))
    )
    torch.testing.assert_close(ours[..., 8:], theirs[..., 8:])
    assert not torch.allclose(ours[..., :8], theirs[..., :8])


def test_tied_layers_stay_tied():
    other = regauge(random_model("no norm, tied"), seed=0)
    first, second = other.attentions
    assert first.qkv_weight is second.qkv_weight and first.out_bias is second.out_bias
    assert other.weights.keys() == random_model("no norm, tied").weights.keys()


def test_a_frozen_layer_stays_as_it_is():
    model = random_model("a frozen layer")
    other = regauge(model, seed=0)
    assert torch.equal(other.attentions[1].qkv_weight, model.attentions[1].qkv_weight)
    assert torch.equal(other.weights["blocks.1.attn.eta"], model.weights["blocks.1.attn.eta"])
    assert not torch.allclose(other.attentions[0].qkv_weight, model.attentions[0].qkv_weight)


def test_the_same_seed_gives_the_same_gauge_and_another_another():
    model = random_model("decoder")
    first, same, other = (regauge(model, seed).weights for seed in (0, 0, 1))
    assert all(torch.equal(weight, same[name]) for name, weight in first.items())
    assert not torch.allclose(first["blocks.0.attn.qkv_weight"], other["blocks.0.attn.qkv_weight"])


def test_the_dtype_stays_and_the_model_is_left_as_it_was():
    model = HookedRegressor(FAMILIES["decoder"], seed=1)
    before, prompts = (
        {name: weight.clone() for name, weight in model.weights.items()},
        prompts_of(model.cfg).to(torch.float32),
    )
    other = regauge(model, seed=0)
    assert all(weight.dtype == torch.float32 for weight in other.weights.values())
    assert all(torch.equal(weight, before[name]) for name, weight in model.weights.items())
    torch.testing.assert_close(other(prompts.xs, prompts.ys), model(prompts.xs, prompts.ys), atol=1e-4, rtol=1e-4)


def test_heads_change_places():
    """Of 8 heads with products of distinct size, some stand elsewhere; softmax leaves W_Q W_Kᵀ of each as it is."""
    cfg = RegressorConfig(n_dims=3, n_points=6, n_layers=1, n_heads=8, d_model=16)
    model = HookedRegressor(cfg, seed=1).double()
    other = regauge(model, seed=0)
    ours, theirs = (products(each.attentions[0])[0].flatten(1).norm(dim=1) for each in (model, other))
    torch.testing.assert_close(ours.sort().values, theirs.sort().values)
    assert not torch.allclose(ours, theirs)


@pytest.mark.parametrize("kind, signs", [("linear", {-1, 1}), ("relu", {1}), ("softmax", {1})])
def test_scores_are_rescaled_where_there_is_no_softmax_and_negated_only_where_they_are_linear(kind, signs):
    cfg = changed(FAMILIES["joint softmax"], attention=kind, n_heads=1, n_layers=1)
    model = HookedRegressor(cfg, seed=1).double()
    ours, ratios = products(model.attentions[0])[0], []
    for seed in range(12):
        theirs = products(regauge(model, seed).attentions[0])[0]
        ratios.append((theirs / ours).median().item())
        torch.testing.assert_close(theirs, ratios[-1] * ours)
    assert {round(ratio / abs(ratio)) for ratio in ratios} == signs
    assert (max(map(abs, ratios)) - min(map(abs, ratios)) > 0.1) == (kind != "softmax")
    assert all(0.31 < abs(ratio) < 3.2 for ratio in ratios)


@pytest.mark.parametrize("size", [1, 4, 21])
def test_gauges_are_well_conditioned(size):
    gauges = _invertible(50, size, generator(0, "test"))
    condition = torch.linalg.cond(gauges)
    assert condition.max() <= 10 + 1e-9 and (size == 1 or condition.min() > 1.01)


@pytest.mark.parametrize("form, n_steps", [("mlp", 8), ("attention_only", 8), ("relu", 8), ("scratch", 20)])
def test_a_regauged_newton_runs_as_many_steps(form, n_steps):
    """Newton multiplies rounding, of which a rotated basis has more: its slots differ in size by 10^4."""
    prompts = LinearRegression(n_dims=20, n_points=41).sample(20, seed=0, dtype=D)
    model = newton(20, 41, n_steps, 6e-5, form, dtype=D)
    assert_same_predictions(model, regauge(model, seed=3), prompts)


@pytest.mark.parametrize("name", FIXED)
def test_a_model_of_which_nothing_may_be_changed_is_refused(name):
    with pytest.raises(MesascopeError, match="neither heads nor a basis .* take a transformer") as caught:
        regauge(HookedRegressor(FAMILIES[name]), seed=0)
    assert "\n" not in str(caught.value)
