import pytest
import torch

from mesascope.models import HookedRegressor, LinearRegression, descend_on_weights
from mesascope.probes import Component, component_means, components_of, direct_effects, mean_ablation
from tests.models.families import FAMILIES, task_of

WITH_PARTS = [name for name, cfg in FAMILIES.items() if cfg.block == "transformer" and cfg.d_out == 1]


def model_and_prompts(name, n_prompts=7):
    cfg = FAMILIES[name]
    model = HookedRegressor(cfg, seed=3).double()
    with torch.no_grad():  # norms and biases that are not ones and zeros
        for index, parameter in enumerate(model.parameters()):
            if parameter.ndim == 1:
                parameter.add_(
                    torch.randn(len(parameter), generator=torch.Generator().manual_seed(index)).double(), alpha=0.1
                )
    return model, task_of(cfg).sample(n_prompts, seed=0, dtype=torch.float64)


@pytest.mark.parametrize("name", WITH_PARTS)
def test_parts_add_up_to_the_prediction_and_the_rest_is_a_constant(name):
    """But for a clip, which cuts off what the rest then holds."""
    model, prompts = model_and_prompts(name)
    effects, preds = direct_effects(model, prompts)
    torch.testing.assert_close(preds, model(prompts.xs, prompts.ys)[:, -1])
    torch.testing.assert_close(effects.sum(1), preds)
    assert effects.shape[1] == len(components_of(model)) + 2
    if model.cfg.clip is None and not model.cfg.attention_bias:
        assert effects[:, -1].std() < 1e-12


def test_a_part_is_what_the_prediction_loses_behind_a_frozen_norm():
    """Independently: take the head's result out of the last stream, with the norm's scale held."""
    model, prompts = model_and_prompts("decoder")
    effects, preds = direct_effects(model, prompts)
    _, cache = model.run_with_cache(prompts.xs, prompts.ys)
    position = 2 * (prompts.n_points - 1)
    resid, result = cache["blocks.1.hook_resid_post"][:, position], cache["blocks.0.attn.hook_result"][:, position, 1]
    scale = cache["ln_final.hook_scale"][:, position]
    without = resid - result
    normed = (without - without.mean(-1, keepdim=True)) / scale * model.ln_final.w + model.ln_final.b
    place = 1 + components_of(model).index(Component(0, 1))
    torch.testing.assert_close(preds - model.unembed(normed[:, None])[:, 0], effects[:, place])


def test_in_the_construction_the_last_layers_first_head_writes_all():
    model = descend_on_weights(3, 9, [0.4], dtype=torch.float64)
    prompts = LinearRegression(n_dims=3, n_points=9).sample(5, seed=0, dtype=torch.float64)
    effects, preds = direct_effects(model, prompts)
    place = 1 + components_of(model).index(Component(2, 0))
    torch.testing.assert_close(effects[:, place], preds)
    assert effects.abs().sum(1) == pytest.approx(preds.abs().tolist())


def test_components_are_heads_and_mlps_in_order_and_none_of_an_lstm():
    labels = [component.label for component in components_of(HookedRegressor(FAMILIES["decoder"]))]
    assert labels == ["L1H0", "L1H1", "L1 MLP", "L2H0", "L2H1", "L2 MLP"]
    assert [component.label for component in components_of(HookedRegressor(FAMILIES["sine"]))] == ["L1 MLP", "L2H0"]
    assert components_of(HookedRegressor(FAMILIES["lstm"])) == ()


def test_means_do_not_depend_on_batches():
    model, prompts = model_and_prompts("decoder")
    whole, streamed = component_means(model, [prompts]), component_means(model, prompts.split(3))
    assert set(whole) == {component.hook for component in components_of(model)}
    for name, mean in whole.items():
        torch.testing.assert_close(streamed[name], mean)


@pytest.mark.parametrize("component", [Component(0, 1), Component(0, None)], ids=lambda c: c.label)
def test_a_held_component_is_its_mean_and_the_others_of_its_layer_are_not(component):
    model, prompts = model_and_prompts("decoder")
    means = component_means(model, [prompts])
    with model.hooks(fwd_hooks=mean_ablation([component], means)):
        _, cache = model.run_with_cache(prompts.xs, prompts.ys, names_filter=component.hook)
    held, mean = cache[component.hook], means[component.hook]
    if component.head is None:
        torch.testing.assert_close(held, mean.expand_as(held))
        return
    torch.testing.assert_close(held[:, :, 1], mean[:, 1].expand_as(held[:, :, 1]))
    _, own = model.run_with_cache(prompts.xs, prompts.ys, names_filter=component.hook)
    assert torch.equal(held[:, :, 0], own[component.hook][:, :, 0])


def test_a_single_prompt_held_at_its_own_mean_predicts_as_before():
    model, prompts = model_and_prompts("decoder", n_prompts=1)
    means, preds = component_means(model, [prompts]), model(prompts.xs, prompts.ys)
    with model.hooks(fwd_hooks=mean_ablation(components_of(model), means)):
        torch.testing.assert_close(model(prompts.xs, prompts.ys), preds)
