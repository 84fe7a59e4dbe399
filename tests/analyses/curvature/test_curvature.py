import json

import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.claim import finite
from mesascope.analyses.curvature import detect_curvature
from mesascope.models import (
    GradientDescent,
    HookedRegressor,
    MesascopeError,
    gradient_descent,
    regauge,
)
from tests.analyses.curvature.planted import GAMMAS, N_DIMS, N_POINTS, TASK, planted, rotation, tied, with_updates
from tests.models.families import FAMILIES, changed, task_of

EYE = torch.eye(N_DIMS, dtype=torch.float64)
FEW = dict(n_prompts=200, n_scored=200)


def detected(scope, **given):
    return detect_curvature(scope, **(FEW | given))


def verdicts(scope):
    return [layer.verdict for layer in detected(scope).layers]


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_gd_plus_plus_is_found_in_any_gauge_and_both_readings_hold_its_gammas(seed):
    model = planted().hooked if seed is None else regauge(planted().hooked, seed)
    result = detected(attach(model, task=TASK))
    assert result.verdict == "curvature correction in layers 1 and 2"
    for gamma, layer in zip(GAMMAS[:-1], result.read, strict=True):
        assert abs(layer.weights.value - gamma) < 1e-4
        assert abs(layer.update.gamma.value - gamma) < 1e-4
    assert result.layers[2].verdict == "nobody reads it"


def test_two_heads_that_share_the_work_are_gd_plus_plus_too():
    single = planted().hooked
    model = HookedRegressor(single.cfg.model_copy(update={"n_heads": 2})).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for mine, theirs in zip(model.attentions, single.attentions, strict=True):
            for head in range(2):
                for name in ("W_Q", "W_K", "W_V"):
                    getattr(mine, name)[head] = getattr(theirs, name)[0]
                mine.W_O[head] = (0.3, 0.7)[head] * theirs.W_O[0]
    result = detected(attach(model, task=TASK))
    assert result.verdict == "curvature correction in layers 1 and 2"
    assert abs(result.layers[0].update.gamma.value - GAMMAS[0]) < 1e-10


def test_gd_plus_plus_from_another_start_is_found_behind_its_read_in():
    scope = planted(w0=torch.tensor([0.5, -1.0, 0.25, 2.0]))
    assert detected(scope).verdict == "curvature correction in layers 1 and 2"


def test_the_last_application_of_a_tied_layer_is_read_by_nobody():
    result = detected(tied(1.5, 0.4))
    assert [layer.verdict for layer in result.layers] == ["GD++", "GD++", "nobody reads it"]
    assert abs(result.layers[2].weights.value - 0.4) < 1e-6
    assert result.layers[2].ablation is None


def test_plain_gradient_descent_has_no_curvature_correction():
    result = detected(attach(gradient_descent(N_DIMS, N_POINTS, [1.0, 2.0], dtype=torch.float64), task=TASK))
    assert result.verdict == "no curvature correction"
    assert [layer.verdict for layer in result.layers] == ["no curvature correction", "nobody reads it"]
    assert result.claims[0].text == "The tokens' x: no curvature correction; no layer changes it."
    assert result.figures() == ()


def test_one_layer_corrects_nothing_for_nobody_reads_it():
    result = detected(planted(etas=(1.0,), gammas=(0.5,)))
    assert result.verdict == "no curvature correction"
    assert "no attention comes after it" in result.claims[0].text


@pytest.mark.parametrize("seed", range(3))
def test_another_matrix_in_place_of_gamma_is_not_gd_plus_plus(seed):
    assert verdicts(with_updates([0.5 * rotation(seed), 0 * EYE])) == ["not GD++", "nobody reads it"]


def test_the_verdict_names_every_layer_by_what_it_does():
    result = detected(with_updates([0.4 * EYE, 0 * EYE, rotation(), 0.4 * EYE, 0 * EYE]))
    assert result.verdict == (
        "curvature correction in layers 1 and 4, no curvature correction in layer 2, not GD++ in layer 3"
    )


def test_a_correction_on_which_nothing_depends_is_undetermined():
    result = detected(planted(etas=(1.0, 0.0), gammas=(0.5, 0.0)))
    assert result.verdict == "undetermined in layer 1"
    assert "no difference" in result.claims[1].text


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["lsa", "tied lsa", "two heads", "joint softmax"])
def test_an_untrained_model_is_never_gd_plus_plus(name, seed):
    scope = attach(HookedRegressor(FAMILIES[name], seed), task=task_of(FAMILIES[name]))
    result = detected(scope, n_prompts=80, n_scored=80)
    assert all(layer.verdict not in ("GD++", "undetermined") for layer in result.layers)


def test_weights_that_are_all_zero_correct_nothing():
    model = planted().hooked
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    result = detected(attach(model, task=TASK))
    assert result.verdict == "no curvature correction"
    assert result.layers[0].weights.ci == (0.0, 0.0)


def test_behind_a_softmax_the_weights_hold_no_gamma():
    scope = attach(HookedRegressor(FAMILIES["joint softmax"]), task=task_of(FAMILIES["joint softmax"]))
    layer = detect_curvature(scope, n_prompts=80, n_scored=80).layers[0]
    assert layer.weights is None
    assert layer.ablation is None


@pytest.mark.parametrize("name", ["decoder", "separate"])
def test_tokens_that_hold_x_and_y_apart_get_no_verdict(name):
    scope = attach(HookedRegressor(FAMILIES[name]), task=task_of(FAMILIES[name]))
    result = detected(scope)
    assert result.verdict == "not applicable"
    assert {layer.verdict for layer in result.layers} == {"not applicable"}
    assert "tokens of their own" in result.claims[0].text
    assert result.figures() == ()


@pytest.mark.parametrize("name", ["lstm", "induction", "scratch"])
def test_a_model_without_x_beside_y_is_refused_with_the_basis_it_lacks(name):
    scope = attach(HookedRegressor(FAMILIES[name]), task=task_of(FAMILIES[name]))
    with pytest.raises(MesascopeError, match=r"basis of slots \(x, y\), which layout='joint' has"):
        detected(scope)


def test_a_bare_predictor_is_refused():
    with pytest.raises(MesascopeError, match="no layers to probe"):
        detected(attach(GradientDescent(2, 0.5)))


def test_a_model_without_attention_is_refused():
    model = HookedRegressor(changed(FAMILIES["sine"], attention="none"))
    with pytest.raises(MesascopeError, match="no attention"):
        detected(attach(model))


def test_too_few_prompts_are_refused():
    for few in ({"n_prompts": 39}, {"n_scored": 39}):
        with pytest.raises(MesascopeError, match="at least 40 prompts"):
            detect_curvature(planted(), **few)


def test_x_beyond_all_numbers_is_refused():
    with pytest.raises(MesascopeError, match="NaN or infinite at layer"):
        detected(planted(etas=(1.0,) * 8, gammas=(1e40,) * 8))


def test_a_seed_chooses_the_prompts_and_the_result_is_kept():
    scope = attach(HookedRegressor(FAMILIES["lsa"]), task=task_of(FAMILIES["lsa"]))
    one, other = detected(scope), detected(scope, seed=1)
    assert one is detected(scope, seed=0)
    assert (one.seed, other.seed) == (0, 1)
    assert one.layers[0].update.gamma != other.layers[0].update.gamma


def test_all_numbers_are_json():
    result = detected(planted())
    found = json.loads(json.dumps(finite(result.to_json()), allow_nan=False))
    layer = found["data"]["layers"][0]
    assert layer["activations"]["gamma"]["value"] == pytest.approx(GAMMAS[0])
    assert layer["intervention"]["share"]["value"] == pytest.approx(1)
    assert len(layer["untrained"]["r2"]) == 5
    assert found["claims"][0]["verdict"] == found["data"]["verdict"] == result.verdict


def test_the_model_claim_holds_the_layer_that_is_least_gd_plus_plus():
    result = detected(with_updates([0.4 * EYE, rotation(), 0 * EYE]))
    claim = result.claims[0]
    assert claim.value == result.layers[1].update.r2.value
    assert claim.null == result.layers[1].null
    assert result.headlines == (claim,)


@pytest.mark.parametrize("name", ["lsa-2", "lsa-2-seed1", "lsa-2-tied"])
def test_trained_layers_correct_curvature_as_all_three_readings_say(name):
    result = detected(attach(f"zoo:{name}"), n_prompts=1000, n_scored=4000)
    layer = result.layers[0]
    assert result.verdict == "curvature correction in layer 1"
    assert layer.update.r2.value > 0.99
    assert layer.weights.value == pytest.approx(layer.update.gamma.value, rel=0.02)
    assert layer.ablation.typical.value == pytest.approx(layer.ablation.typical_predicted.value, rel=0.1)
    assert layer.ablation.mean.value == pytest.approx(layer.ablation.mean_predicted.value, rel=0.1)


def test_float32_rounding_does_not_hide_gamma():
    layer = detected(attach(planted(gammas=(0.8, 0.01, 0.0)).hooked.float(), task=TASK)).layers[1]
    assert abs(layer.update.gamma.value - 0.01) < 1e-5
    assert layer.update.r2.value > 0.9999
