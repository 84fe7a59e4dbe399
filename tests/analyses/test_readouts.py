import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from mesascope.analyses import attach, fit_readouts
from mesascope.analyses.layers import layer_label
from mesascope.models import HookedRegressor, LeastSquares, MesascopeError, RegressorConfig
from mesascope.models.training.presets import read_preset
from mesascope.probes import capture

from .conftest import STEP_TASK, decoder

ONE_STEP_R2 = 8 / (8 + 3 + 1)
"""R² of the best GD step from n isotropic points is n/(n+d+1): methods, section 5."""


def layer(result, label):
    return next(layer for layer in result.layers if layer.label == label)


def test_y_is_read_where_a_construction_puts_it_and_nowhere_else(predicts_y):
    result = fit_readouts(attach(predicts_y, task=STEP_TASK), n_prompts=2000, n_scored=2000)
    assert [found.label for found in result.layers] == ["input", "layer 1"]
    assert layer(result, "input").verdict == "not decodable"
    found = layer(result, "layer 1")
    assert found.verdict == "decodable"
    # The readout rescales the step to the best one, whose error has a closed form.
    assert found.r2.low < ONE_STEP_R2 < found.r2.high
    assert found.r2.value == pytest.approx(ONE_STEP_R2, abs=0.03)


@pytest.mark.parametrize("target, decodable", [("w", True), ("w_ols", True), ("y", False)])
def test_w_is_read_where_a_construction_puts_it_and_y_is_not(holds_w, target, decodable):
    # y = w·x_q is a product of what is there, so no affine map reads it.
    result = fit_readouts(attach(holds_w, task=STEP_TASK), target, n_prompts=2000, n_scored=2000)
    found = layer(result, "layer 1")
    assert found.verdict == ("decodable" if decodable else "not decodable")
    assert layer(result, "input").verdict == "not decodable"
    if target == "w":
        assert found.r2.low < ONE_STEP_R2 < found.r2.high
    assert found.readout.coef_.shape[1] >= 3 * (1 if target == "y" else 3)  # the target and its two nulls


def test_shuffled_and_mismatched_targets_are_not_read_from_a_trained_model(garg_readouts):
    assert layer(garg_readouts, "layer 4").verdict == "decodable"
    for found in garg_readouts.layers:
        for null in (found.shuffled, found.mismatched):
            assert null.low < 0.005
            assert null.value > -0.05  # a fit to noise costs no more than width over rows


@pytest.mark.parametrize("seed", [0, 1])
def test_y_is_not_read_from_an_untrained_model(seed):
    result = fit_readouts(attach(decoder(seed)), n_prompts=1000, n_scored=1000)
    assert {found.verdict for found in result.layers} == {"not decodable"}
    assert all(found.untrained.high < 0.02 for found in result.layers)


def test_r2_equals_a_direct_fit_of_scikit_learn(garg, garg_readouts):
    hook = "blocks.3.hook_resid_post"

    def dataset(stream):
        batch = next(capture(garg.hooked, [garg.prompts(1000, stream)], hook, read_only=True))
        return batch.activations[hook].double().numpy(), batch.prompts.ys.double().numpy()

    resid, y = dataset("fit")
    flat = resid.reshape(-1, 48)
    penalty = layer(garg_readouts, "layer 4").readout.alpha * ((flat - flat.mean(0)) ** 2).sum() / 48
    theirs = Ridge(alpha=penalty).fit(flat, y.ravel())
    resid, y = dataset("score")
    error = (theirs.predict(resid.reshape(-1, 48)).reshape(y.shape) - y) ** 2
    ours = layer(garg_readouts, "layer 4")
    # Activations are float32, and batches of other sizes round differently.
    assert ours.r2.value == pytest.approx(1 - error.sum() / (y**2).sum(), abs=1e-4)
    np.testing.assert_allclose(ours.r2_by_point, 1 - error.sum(0) / (y**2).sum(0), atol=1e-3)
    np.testing.assert_allclose(ours.mse_by_point, error.mean(0), atol=1e-4)


def test_least_squares_stands_beside_the_readouts_on_the_same_prompts(garg, garg_readouts):
    prompts = garg.prompts(1000, "score")
    direct = (LeastSquares().predict(prompts) - prompts.ys).square().mean(0)
    torch.testing.assert_close(torch.tensor(garg_readouts.least_squares_mse).double(), direct, rtol=1e-4, atol=1e-9)
    # Noise-free isotropic least squares errs by w_std² (d − t) while t < d, and not at all afterwards.
    expected = [0.2 * max(5 - t, 0) for t in range(16)]
    np.testing.assert_allclose(garg_readouts.least_squares_mse, expected, atol=0.15)


def test_layers_of_a_trained_decoder_improve_with_depth(garg_readouts):
    values = [found.r2.value for found in garg_readouts.layers]
    assert np.diff(values).min() > -0.02  # the input and layer 1 hold nothing, so their order is chance
    assert values[-1] > 0.7 > 0.1 > values[0]
    late = layer(garg_readouts, "final norm").r2_by_point[8:]
    assert min(late[:-2]) > 0.9


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(predicts_y):
    scope = attach(predicts_y, task=STEP_TASK)
    first, other = (fit_readouts(scope, n_prompts=2000, n_scored=2000, seed=seed) for seed in (None, 1))
    again = fit_readouts(attach(predicts_y, task=STEP_TASK), n_prompts=2000, n_scored=2000)
    assert again.data() == first.data()
    assert (first.seed, other.seed) == (0, 1)
    for ours, theirs in zip(first.layers, other.layers, strict=True):
        assert ours.r2.value != theirs.r2.value
        assert ours.r2.value == pytest.approx(theirs.r2.value, abs=0.06)


def test_readouts_are_fitted_once_per_scope(garg, garg_readouts):
    assert fit_readouts(garg, n_prompts=1000, n_scored=1000) is garg_readouts


def test_claims_carry_number_interval_and_null_last_layer_first(garg_readouts):
    claims = garg_readouts.claims
    assert claims[0].id == "readouts.y.ln_final.hook_normalized"
    assert claims[-1].id == "readouts.y.blocks.0.hook_resid_pre"
    for claim, found in zip(claims, reversed(garg_readouts.layers), strict=True):
        assert claim.ci is not None and claim.value is not None and claim.null is not None
        assert claim.ci[0] < claim.value < claim.ci[1]
        assert f"R² = {claim.value:.3f}" in claim.text.replace("-0.000", "0.000")
        assert claim.verdict == found.verdict


def test_a_model_with_one_read_point_has_no_heat_map(predicts_y, garg_readouts):
    single = fit_readouts(attach(predicts_y, task=STEP_TASK), n_prompts=2000, n_scored=2000)
    assert [figure.id for figure in single.figures()] == ["readouts-y-r2", "readouts-y-mse"]
    assert [figure.id for figure in garg_readouts.figures()][2:] == ["readouts-y-heat"]


def test_what_all_sine_waves_have_in_common_is_in_the_null():
    # An MLP on x alone holds E[y | x], which says nothing of the prompt: so would the target of another sine.
    preset = read_preset("vonoswald/sine")
    result = fit_readouts(attach(HookedRegressor(preset.model, 3), task=preset.task), n_prompts=1000, n_scored=1000)
    found = layer(result, "layer 1")
    assert found.r2.value > 0.15
    assert found.mismatched.value == pytest.approx(found.r2.value, abs=0.1)
    assert found.shuffled.value < 0.1
    assert found.verdict != "decodable"


def test_layers_have_names_in_words():
    names = ["blocks.0.hook_resid_pre", "blocks.2.hook_resid_post", "ln_final.hook_normalized"]
    assert [layer_label(name) for name in names] == ["input", "layer 3", "final norm"]


def test_an_unknown_target_is_refused(garg):
    with pytest.raises(MesascopeError, match=r"no target is called 'w_osl'; did you mean 'w_ols'\?"):
        fit_readouts(garg, "w_osl")


@pytest.mark.parametrize(
    "options, complaint",
    [
        ({"n_prompts": 39}, "n_prompts=39: readouts need at least 40"),
        ({"n_scored": 39}, "n_scored=39: the intervals need at least 40 prompts"),
    ],
)
def test_too_few_prompts_are_refused(garg, options, complaint):
    with pytest.raises(MesascopeError, match=complaint):
        fit_readouts(garg, **options)


def test_a_bare_predictor_has_no_layers_to_read():
    with pytest.raises(MesascopeError, match="has no layers to probe: it is a predictor"):
        fit_readouts(attach(LeastSquares()), n_prompts=40)


@pytest.mark.slow
def test_another_untrained_model_is_hardly_ever_called_decodable():
    cfg = RegressorConfig(n_dims=1, n_points=8, n_layers=2, n_heads=4, d_model=64, d_head=16, d_mlp=256)
    verdicts = [
        layer.verdict
        for seed in range(4)
        for layer in fit_readouts(attach(HookedRegressor(cfg, seed)), n_prompts=2000, n_scored=400).layers
    ]
    # In one dimension a random layer does hold something of y: R² .05-.08, which one twin alone would let pass.
    assert verdicts.count("decodable") <= 0.1 * len(verdicts)


def test_a_dead_model_decodes_nothing():
    model = decoder()
    for parameter in model.embed.parameters():
        torch.nn.init.zeros_(parameter)
    (layer, *_) = fit_readouts(attach(model), n_prompts=200, n_scored=100).layers
    assert layer.verdict == "not decodable" and abs(layer.r2.value) < 0.05
