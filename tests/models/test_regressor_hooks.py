import pytest
import torch
from transformer_lens import ActivationCache, FactoredMatrix

from mesascope.models import HookedRegressor, LinearRegression, MesascopeError, RegressorConfig

CFG = RegressorConfig(n_dims=3, n_points=6, n_layers=2, n_heads=2, d_model=8, d_head=4, d_mlp=16)
PROMPTS = LinearRegression(n_dims=3, n_points=6).sample(5, seed=0, dtype=torch.float64)


def model_of(**fields):
    return HookedRegressor(CFG.model_copy(update=fields)).double()


def test_hooks_have_transformer_lens_names():
    attention = ["q", "k", "v", "attn_scores", "pattern", "z", "result"]
    block = [
        *(f"hook_{name}" for name in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")),
        *(f"attn.hook_{name}" for name in attention),
        *(f"ln{i}.hook_{name}" for i in (1, 2) for name in ("scale", "normalized")),
        *(f"mlp.hook_{name}" for name in ("pre", "post")),
    ]
    expected = {f"blocks.{layer}.{name}" for layer in range(2) for name in block}
    expected |= {"embed.hook_embed", "embed.hook_pos_embed", "ln_final.hook_scale", "ln_final.hook_normalized"}
    assert set(model_of().hook_dict) == expected


def test_a_model_without_a_part_has_no_hooks_for_it():
    names = set(model_of(d_mlp=0, layer_norm=False).hook_dict)
    assert not {name for name in names if "mlp" in name or "ln" in name or "resid_mid" in name}
    assert "blocks.0.hook_resid_post" in names


@pytest.mark.parametrize("fields", [{}, {"attention": "linear"}, {"layer_norm": False}, {"d_mlp": 0}], ids=repr)
def test_caching_everything_does_not_change_predictions(fields):
    model = model_of(**fields)
    preds, cache = model.run_with_cache(PROMPTS.xs, PROMPTS.ys)
    torch.testing.assert_close(preds, model(PROMPTS.xs, PROMPTS.ys))
    assert isinstance(cache, ActivationCache)
    assert set(cache.keys()) == set(model.hook_dict)


def test_the_cache_speaks_transformer_lens_shorthand_and_adds_up():
    model = model_of()
    _, cache = model.run_with_cache(PROMPTS.xs, PROMPTS.ys)
    for layer in range(2):
        mid = cache["resid_pre", layer] + cache["attn_out", layer]
        torch.testing.assert_close(cache["resid_mid", layer], mid)
        torch.testing.assert_close(cache["resid_post", layer], mid + cache["mlp_out", layer])
    torch.testing.assert_close(cache["resid_pre", 1], cache["resid_post", 0])
    assert cache["pattern", 0].shape == (5, 2, 12, 12)
    assert cache["q", 0].shape == (5, 12, 2, 4)
    read = cache["ln_final.hook_normalized"][:, model.read_positions(6)]
    torch.testing.assert_close(model.unembed(read), model(PROMPTS.xs, PROMPTS.ys))


def test_a_filter_caches_what_it_names_and_nothing_else():
    _, cache = model_of().run_with_cache(PROMPTS.xs, PROMPTS.ys, names_filter="*hook_resid_post")
    assert set(cache.keys()) == {"blocks.0.hook_resid_post", "blocks.1.hook_resid_post"}


def test_a_filter_that_matches_nothing_suggests_the_nearest_hook():
    with pytest.raises(MesascopeError, match="did you mean 'blocks.1.attn.hook_pattern'"):
        model_of().run_with_cache(PROMPTS.xs, PROMPTS.ys, names_filter="blocks.1.attn.hook_patern")


def test_a_cached_run_leaves_no_hook_behind():
    model = model_of()
    model.run_with_cache(PROMPTS.xs, PROMPTS.ys)
    assert not any(point._forward_hooks for point in model.hook_dict.values())


@pytest.mark.parametrize("listener", ["transformer_lens", "pytorch"])
def test_every_hook_can_change_the_prediction(listener):
    """Each activation is on the way to the output, whoever edits it; no hook is decoration."""
    model = model_of()
    expected = model(PROMPTS.xs, PROMPTS.ys)

    def edited(value):
        return value * torch.linspace(0.5, 2, value.shape[-1], dtype=value.dtype).flip(-1) + 0.1

    for name, point in model.hook_dict.items():
        if name.endswith("hook_scale"):
            edit = lambda value: 2 * value  # noqa: E731  (its last axis has one entry)
        else:
            edit = edited
        if listener == "transformer_lens":
            preds = model.run_with_hooks(PROMPTS.xs, PROMPTS.ys, fwd_hooks=[(name, lambda v, hook, f=edit: f(v))])
        else:
            handle = point.register_forward_hook(lambda module, args, output, f=edit: f(output))
            preds = model(PROMPTS.xs, PROMPTS.ys)
            handle.remove()
        assert (preds - expected).abs().max() > 1e-8, name
    torch.testing.assert_close(model(PROMPTS.xs, PROMPTS.ys), expected)


def test_gradients_reach_a_hook_from_the_prediction():
    model, seen = model_of(), []
    point = model.hook_dict["blocks.0.attn.hook_pattern"]
    point.add_hook(lambda value, hook: seen.append(value), dir="bwd")
    model(PROMPTS.xs, PROMPTS.ys).sum().backward()
    model.reset_hooks()
    assert seen[0].shape == (5, 2, 12, 12) and seen[0].abs().max() > 0


def test_the_models_factored_matrices_stack_those_of_the_layers():
    model = model_of()
    for name in ("QK", "OV"):
        stacked = getattr(model, name)
        assert isinstance(stacked, FactoredMatrix) and stacked.AB.shape == (2, 2, 8, 8)
        for layer, attention in enumerate(model.attentions):
            torch.testing.assert_close(stacked.A[layer] @ stacked.B[layer], getattr(attention, name).AB)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_residual_hooks_are_the_stream_from_start_to_end(layer_norm):
    model = model_of(layer_norm=layer_norm)
    hooks = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    assert model.residual_hooks == hooks + ["ln_final.hook_normalized"] * layer_norm
    assert set(model.residual_hooks) <= set(model.hook_dict)


@pytest.mark.parametrize("remove", [True, False])
def test_a_cache_of_one_prompt_may_drop_its_batch_dimension(remove):
    _, cache = model_of().run_with_cache(PROMPTS.xs[:1], PROMPTS.ys[:1], remove_batch_dim=remove)
    assert cache.has_batch_dim is not remove
    assert cache["resid_post", 1].shape == ((12, 8) if remove else (1, 12, 8))


def test_every_hook_is_cached_when_no_filter_is_given():
    model, prompts = (
        HookedRegressor(RegressorConfig.linear_self_attention(2, 4, 1)),
        LinearRegression(n_dims=2, n_points=4),
    )
    batch = prompts.sample(3, seed=0)
    _, cache = model.run_with_cache(batch.xs, batch.ys)
    assert set(cache.keys()) == set(model.hook_dict)


def test_a_hook_on_an_unknown_name_suggests_the_nearest():
    model = HookedRegressor(RegressorConfig.linear_self_attention(2, 4, 1))
    batch = LinearRegression(n_dims=2, n_points=4).sample(3, seed=0)
    with pytest.raises(MesascopeError, match="did you mean 'blocks.0.hook_resid_post'"):
        model.run_with_hooks(batch.xs, batch.ys, fwd_hooks=[("blocks.9.hook_resid_post", lambda tensor, hook: None)])


@pytest.mark.parametrize("layer_norm, d_mlp", [(True, 8), (False, 0)])
def test_the_cache_decomposes_the_residual_stream(layer_norm, d_mlp):
    cfg = RegressorConfig(
        n_dims=2, n_points=4, n_layers=2, n_heads=2, d_model=8, d_head=4, d_mlp=d_mlp, layer_norm=layer_norm
    )
    assert cfg.attn_only == (d_mlp == 0) and cfg.normalization_type == ("LN" if layer_norm else None)
    model, batch = HookedRegressor(cfg), LinearRegression(n_dims=2, n_points=4).sample(3, seed=0)
    _, cache = model.run_with_cache(batch.xs, batch.ys)
    parts = cache.decompose_resid(incl_embeds=False)
    assert isinstance(parts, torch.Tensor)
    whole = parts.sum(0) + cache["blocks.0.hook_resid_pre"]
    torch.testing.assert_close(whole, cache["blocks.1.hook_resid_post"], rtol=1e-5, atol=1e-6)
