"""What holds for the models of all families: they are hooked alike."""

import pytest
import torch
from transformer_lens import ActivationCache

from mesascope.models import HookedRegressor, MesascopeError, load, save
from mesascope.probes.capturing import capture
from tests.models.families import FAMILIES, prompts_of, task_of


@pytest.fixture(params=list(FAMILIES.values()), ids=list(FAMILIES))
def cfg(request):
    return request.param


@pytest.fixture
def model(cfg):
    return HookedRegressor(cfg, seed=1).double()


@pytest.fixture
def prompts(cfg):
    return prompts_of(cfg)


def test_predictions_have_one_entry_for_each_read_point_and_an_axis_for_several_numbers(cfg, model, prompts):
    preds = model(prompts.xs, prompts.ys)
    shape = (5, len(model.read_points(6)))
    assert preds.shape == (shape if cfg.d_out == 1 else (*shape, cfg.d_out))
    assert preds.dtype == torch.float64 and preds.isfinite().all() and preds.std() > 0


def test_predictions_are_read_at_the_layouts_points_and_positions(cfg, model):
    assert model.read_points(6) == cfg.tokens.read_points(6)
    assert model.read_positions(6) == cfg.tokens.read_positions(6)
    n_positions = len(range(cfg.tokens.n_tokens(6, cfg.n_dims))[model.read_positions(6)])
    assert n_positions == len(model.read_points(6))


def test_the_last_y_is_never_read(model, prompts):
    changed = prompts.ys.clone()
    changed[:, -1] += 2
    assert torch.equal(model(prompts.xs, changed), model(prompts.xs, prompts.ys))


def test_caching_everything_changes_nothing_and_finds_every_hook(model, prompts):
    preds, cache = model.run_with_cache(prompts.xs, prompts.ys)
    torch.testing.assert_close(preds, model(prompts.xs, prompts.ys))
    assert isinstance(cache, ActivationCache) and set(cache.keys()) == set(model.hook_dict)
    assert not any(point._forward_hooks for point in model.hook_dict.values())


def test_the_residual_stream_is_continuous_and_as_wide_as_the_model(cfg, model, prompts):
    _, cache = model.run_with_cache(prompts.xs, prompts.ys, names_filter=model.residual_hooks)
    assert list(cache.keys()) == model.residual_hooks
    for name in model.residual_hooks:
        assert cache[name].shape == (5, cfg.tokens.n_tokens(6, cfg.n_dims), cfg.d_model)
    torch.testing.assert_close(cache["resid_post", 0], _cached(model, prompts, "blocks.1.hook_resid_pre"))


def _cached(model, prompts, name):
    return model.run_with_cache(prompts.xs, prompts.ys, names_filter=name)[1][name]


def test_the_cache_accumulates_the_residual_stream(cfg, model, prompts):
    """TransformerLens' own analysis: the input of each layer, and the output of the last."""
    _, cache = model.run_with_cache(prompts.xs, prompts.ys)
    stream = cache.accumulated_resid(layer=-1, apply_ln=False)
    assert isinstance(stream, torch.Tensor)
    for layer, resid in enumerate(stream):
        expected = cache["resid_pre", layer] if layer < cfg.n_layers else cache["resid_post", cfg.n_layers - 1]
        torch.testing.assert_close(resid, expected)


@pytest.mark.parametrize("family", [name for name, cfg in FAMILIES.items() if cfg.block == "transformer"])
def test_what_the_layers_of_a_transformer_add_adds_up(family):
    cfg = FAMILIES[family]
    model, prompts = HookedRegressor(cfg, seed=1).double(), prompts_of(cfg)
    _, cache = model.run_with_cache(prompts.xs, prompts.ys)
    for layer in range(cfg.n_layers):
        added = sum(
            cache[f"blocks.{layer}.{name}"]
            for name in ("hook_attn_out", "hook_mlp_out")
            if f"blocks.{layer}.{name}" in cache
        )
        expected = cache["resid_pre", layer] + added
        if cfg.clip is not None:
            expected = expected.clamp(-cfg.clip, cfg.clip)
        torch.testing.assert_close(cache["resid_post", layer], expected)


def test_replacing_the_last_layers_output_changes_the_prediction_as_the_read_out_says(cfg, model, prompts):
    """Computed by hand from the weights: final norm and affine map, or minus the y-slot."""
    name = f"blocks.{cfg.n_layers - 1}.hook_resid_post"
    rng = torch.Generator().manual_seed(0)
    resid = torch.randn(5, cfg.tokens.n_tokens(6, cfg.n_dims), cfg.d_model, dtype=torch.float64, generator=rng)
    preds = model.run_with_hooks(prompts.xs, prompts.ys, fwd_hooks=[(name, lambda value, hook: resid)])
    read = resid[:, model.read_positions(6)]
    if cfg.read_out == "slots":
        expected = -read[..., cfg.d_model - 1 - cfg.d_position]
    else:
        if cfg.final_norm:
            std = (read.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
            read = (read - read.mean(-1, keepdim=True)) / std * model.ln_final.w + model.ln_final.b
        expected = read @ model.unembed.W_U + model.unembed.b_U
        expected = expected[..., 0] if cfg.d_out == 1 else expected
    torch.testing.assert_close(preds, expected)


def test_replacing_a_layers_input_by_what_another_prompt_has_there_gives_the_other_prompts_prediction(
    cfg, model, prompts
):
    """Nothing bypasses the residual stream."""
    other = prompts_of(cfg, n_prompts=10)[5:]
    for layer in range(cfg.n_layers):
        name = f"blocks.{layer}.hook_resid_pre"
        theirs = _cached(model, other, name)
        swapped = model.run_with_hooks(
            prompts.xs, prompts.ys, fwd_hooks=[(name, lambda value, hook, theirs=theirs: theirs)]
        )
        torch.testing.assert_close(swapped, model(other.xs, other.ys))


@pytest.mark.parametrize("read_only", [True, False])
def test_capturing_streams_the_residual_stream_and_predictions(model, prompts, read_only):
    batches = list(capture(model, prompts.split(2), model.residual_hooks, read_only=read_only))
    torch.testing.assert_close(torch.cat([batch.preds for batch in batches]), model(prompts.xs, prompts.ys))
    positions = model.read_positions(6) if read_only else slice(None)
    for name in model.residual_hooks:
        whole = torch.cat([batch.activations[name] for batch in batches])
        torch.testing.assert_close(whole, _cached(model, prompts, name)[:, positions])


def test_the_untrained_twin_has_the_same_architecture_and_other_predictions(cfg, model, prompts):
    twin = model.untrained_twin(seed=7)
    assert twin.cfg == cfg and next(twin.parameters()).dtype == torch.float64
    assert not torch.allclose(twin(prompts.xs, prompts.ys), model(prompts.xs, prompts.ys))
    same = HookedRegressor(cfg, seed=7).double()
    assert torch.equal(twin(prompts.xs, prompts.ys), same(prompts.xs, prompts.ys))


def test_weights_depend_on_the_seed_and_not_on_pytorchs_generator(cfg):
    models = []
    for torch_seed in (1, 2):
        torch.manual_seed(torch_seed)
        models.append(HookedRegressor(cfg, seed=3))
    first, second = (model.weights for model in models)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_double_precision_agrees_with_single(cfg, prompts):
    single, double = HookedRegressor(cfg, seed=1), HookedRegressor(cfg, seed=1).double()
    low = prompts.to(torch.float32)
    preds = single(low.xs, low.ys)
    assert preds.dtype == torch.float32
    torch.testing.assert_close(preds.double(), double(prompts.xs, prompts.ys), rtol=1e-3, atol=1e-4)


def test_every_weight_is_trained_and_saved_once(cfg, model, prompts):
    model(prompts.xs, prompts.ys).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert list(model.weights) == [name for name, _ in model.named_parameters()]
    addresses = [weight.data_ptr() for weight in model.weights.values()]
    assert len(set(addresses)) == len(addresses)


def test_a_run_folder_round_trip_changes_nothing(cfg, tmp_path):
    model, prompts = HookedRegressor(cfg, seed=5), prompts_of(cfg, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)  # so that a loader that only repeats the seed is found out
    save(model, tmp_path / "run", task_of(cfg))
    loaded = load(tmp_path / "run")
    assert loaded.model.cfg == cfg
    assert torch.equal(loaded.model(prompts.xs, prompts.ys), model(prompts.xs, prompts.ys))


def test_another_dimension_is_refused(cfg, model):
    xs, ys = torch.zeros(2, 6, cfg.n_dims + 1), torch.zeros(2, 6)
    with pytest.raises(MesascopeError, match=f"n_dims={cfg.n_dims + 1} but the model was built for n_dims="):
        model(xs, ys)


def test_longer_prompts_are_refused_where_positions_are_learned_and_read_elsewhere(cfg, model):
    xs, ys = torch.zeros(2, 9, cfg.n_dims).double(), torch.zeros(2, 9).double()
    if cfg.positions == "learned":
        with pytest.raises(MesascopeError, match="n_points=9 but the model has positions for 6; use shorter prompts"):
            model(xs, ys)
    else:
        assert model(xs, ys).shape == (2, len(model.read_points(9)))


def test_attention_weights_have_transformer_lens_shapes_and_an_lstm_has_none(cfg, model):
    n_layers = sum(kind != "none" for kind in cfg.attentions)
    if cfg.block == "lstm":
        assert model.attentions == []
        for name in ("QK", "OV"):
            with pytest.raises(MesascopeError, match="no attention.*attach to a transformer") as caught:
                getattr(model, name)
            assert "\n" not in str(caught.value)
        return
    assert len(model.attentions) == n_layers
    for attention in model.attentions:
        for name in ("W_Q", "W_K", "W_V"):
            assert getattr(attention, name).shape == (cfg.n_heads, cfg.d_model, cfg.d_head)
        assert attention.W_O.shape == (cfg.n_heads, cfg.d_head, cfg.d_model)
    for product in (model.QK, model.OV):
        assert product.AB.shape == (n_layers, cfg.n_heads, cfg.d_model, cfg.d_model)
