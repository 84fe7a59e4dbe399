import json
import math
from dataclasses import replace

import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.matching import match_weights
from mesascope.analyses.side_checks.agreement import CONSTRUCTION, MODEL, UNTRAINED
from mesascope.analyses.side_checks.side_checks import SideChecks, check_construction, closed_form
from mesascope.models import (
    LeastSquares,
    LinearRegression,
    MesascopeError,
    Sine,
    gd_plus_plus,
    gradient_descent,
    optimal_preconditioned_step,
    optimal_step,
    preconditioned_gradient_descent,
    regauge,
)
from mesascope.models.inputs import Gaussian, Mixture, Uniform
from mesascope.models.spectra import Fixed, LogUniform
from mesascope.probes import Estimate

from ..conftest import decoder
from .specimens import TASK, D, disturbed, step, with_junk

ETA = optimal_step(TASK).eta


def checked(model, other=None, task=TASK, n_prompts=400) -> SideChecks:
    scope = attach(model, task=task)
    return check_construction(scope, match_weights(scope) if other is None else other, n_prompts=n_prompts)


@pytest.fixture(scope="module")
def itself():
    return checked(regauge(with_junk(step(ETA)), seed=1))


@pytest.fixture(scope="module")
def near():
    return checked(disturbed(gd_plus_plus(4, 13, [0.4, 0.7], [0.2, 0.0], dtype=D), 0.014, seed=1))


def claim(checks, name):
    return next(found for found in checks.claims if found.id == f"side-checks.{name}")


def test_a_construction_is_itself_by_every_check(itself):
    found = itself.agreement
    assert found.difference.value < 1e-9
    assert found.cosine.value == pytest.approx(1)
    assert found.loss_ratio.value == pytest.approx(1)
    assert [loss.value for loss in itself.path.losses] == pytest.approx([found.loss.value] * 11)
    assert max(shift.differences[MODEL].value for shift in itself.shifts) < 1e-9
    assert max(difference.value for difference in itself.rollout.differences[MODEL]) < 1e-9
    assert itself.verdict == itself.construction == "1 step of GD"
    assert claim(itself, "verdict").text.startswith("By behaviour the model is 1 step of GD: ")
    assert {found.id.split(".")[1]: found.verdict for found in itself.claims} == {
        "verdict": "1 step of GD",
        "sensitivity": "the same",
        "loss": "the same",
        "errors": "the same",
        "closed-form": "the optimal step",
        "interpolation": "no barrier",
        "shifts": "alike under shifts",
        "overshoot": "overshoots alike",
        "iteration": "alike when iterated",
    }


def test_nulls_stand_beside_and_are_nothing_like_it(itself):
    assert len(itself.untrained) == 5
    assert all(null.verdict == "not the same" for null in itself.nulls)
    assert claim(itself, "verdict").null > 0.5
    assert claim(itself, "sensitivity").null < 0.5
    assert claim(itself, "interpolation").null > 1.1
    assert claim(itself, "iteration").null > 0.5


def test_the_best_step_has_the_loss_of_its_closed_form(itself):
    expected = optimal_step(TASK).mse / TASK.null_loss
    assert itself.closed_form.other_loss.low < expected < itself.closed_form.other_loss.high


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (step(1.1 * ETA), "like the given construction, but not it"),
        (step(2 * ETA), "not the given construction"),
        (preconditioned_gradient_descent(13, torch.diag(torch.linspace(0.2, 1, 4)).to(D), dtype=D), "not the given"),
        (gradient_descent(4, 13, [0.3, 0.3], dtype=D), "not the given construction"),
        (regauge(step(ETA), seed=5), "the given construction"),
    ],
    ids=["a slightly longer step", "a longer step", "another metric", "two steps", "another gauge"],
)
def test_a_planted_construction_is_told_apart(other, verdict):
    assert checked(step(ETA), other, n_prompts=2000).verdict.startswith(verdict)


def test_a_step_that_is_not_the_best_is_said_not_to_be():
    assert claim(checked(step(0.5 * ETA)), "closed-form").verdict == "not the optimal step"


def test_an_untrained_twin_is_not_the_construction():
    assert checked(step().untrained_twin(7), step()).verdict == "not the given construction"


def test_a_model_near_its_construction_is_like_it(near):
    assert near.construction == "2 steps of GD++"
    assert near.verdict == "like 2 steps of GD++"
    assert 0.001 < near.agreement.difference.value < 0.1
    assert near.closed_form is None
    assert near.rollout == (
        "iteration does not apply: the model's 2 layers have weights of their own; it takes one layer, or tied ones"
    )
    assert not any(found.id == "side-checks.iteration" for found in near.claims)


def test_a_way_that_diverges_is_said_to(itself):
    (way, *_) = itself.untrained_paths
    endless = replace(way, barriers=(way.barriers[0], Estimate(math.inf, math.inf, math.inf), way.barriers[-1]))
    text = claim(replace(itself, untrained_paths=(endless,)), "interpolation").text
    assert text.endswith("; on the way to an untrained twin it diverges.")
    assert claim(replace(itself, untrained_paths=()), "interpolation").null is None


def test_what_cannot_be_mixed_says_why():
    found = checked(step(), gradient_descent(4, 13, [0.4, 0.7], dtype=D))
    assert isinstance(found.path, str) and "another architecture" in found.path
    assert not any(claim.id == "side-checks.interpolation" for claim in found.claims)
    assert [figure.id for figure in found.figures()][:2] == ["side-checks-sensitivities", "side-checks-shifts"]


def test_figures_and_json_are_whole(itself, near):
    for checks in (itself, near):
        json.dumps(checks.to_json(), allow_nan=False)
        for figure in checks.figures():
            assert figure.plot.data and figure.title and figure.guide
    assert [figure.id for figure in itself.figures()] == [
        "side-checks-sensitivities",
        "side-checks-interpolation",
        "side-checks-shifts",
        "side-checks-iteration",
    ]
    assert itself.data()["rollout"]["damping"] == 0.75
    assert near.data()["rollout"] == near.rollout
    assert set(itself.sensitivities.slopes) == {MODEL, CONSTRUCTION, UNTRAINED}


def test_rare_contexts_that_decide_the_loss_are_a_warning(itself):
    assert not itself.warnings
    (warning,) = replace(itself, tail=0.8).warnings
    assert warning.startswith("The worst 1% of prompts hold 80% of the model's loss")


def test_what_an_untrained_twin_does_too_is_said_to_be_so(itself):
    assert replace(itself, untrained=(itself.agreement,)).verdict == "1 step of GD, as untrained"


def test_other_prompts_come_with_another_seed(itself):
    scope = attach(step(ETA), task=TASK)
    one, two = (check_construction(scope, step(ETA), n_prompts=40, seed=seed) for seed in (1, 2))
    assert one.agreement.loss != two.agreement.loss
    assert (one.seed, two.seed) == (1, 2)


@pytest.mark.parametrize(
    ("inputs", "known"),
    [
        (Uniform(half_width=1.0), True),
        (Gaussian(spectrum=Fixed(eigenvalues=(0.5, 1.0, 1.5, 1.0)), basis="fixed"), True),
        (Gaussian(spectrum=LogUniform(kappa=10)), False),
        (Mixture(components=(Gaussian(), Uniform(half_width=1.0))), False),
    ],
    ids=["uniform", "one covariance", "many covariances", "mixture"],
)
def test_the_best_step_is_known_where_its_closed_form_is(inputs, known):
    task = TASK.model_copy(update={"inputs": inputs})
    found = closed_form(step(), task)
    assert (found is not None) == known
    if found is not None and isinstance(inputs, Gaussian):
        torch.testing.assert_close(found.QK.AB, optimal_preconditioned_step(task, dtype=D).QK.AB)


def test_more_than_one_layer_has_no_closed_form():
    assert closed_form(gradient_descent(4, 13, [0.4, 0.7]), TASK) is None


@pytest.mark.parametrize("name", ["lsa-1", "preconditioned"])
def test_the_trained_single_layers_are_their_constructions(name):
    scope = attach(f"zoo:{name}")
    found = check_construction(scope, match_weights(scope), n_prompts=2000)
    assert found.verdict == ("1 step of GD" if name == "lsa-1" else "1 step of preconditioned GD")
    assert claim(found, "closed-form").verdict == "the optimal step"
    assert claim(found, "shifts").verdict == "alike under shifts"


def test_a_decoder_can_be_held_against_a_step_of_its_last_point():
    task = LinearRegression(n_dims=3, n_points=8)
    found = checked(decoder(), gradient_descent(3, 8, 0.5), task, n_prompts=60)
    assert found.verdict == "not the given construction"
    assert "another architecture" in str(found.path)
    assert "iteration does not apply" in str(found.rollout)


def test_too_few_prompts_are_refused():
    with pytest.raises(MesascopeError, match="n_prompts=39: the intervals need at least 40"):
        check_construction(attach(step(), task=TASK), step(), n_prompts=39)


def test_other_dimensions_are_refused():
    with pytest.raises(MesascopeError, match="n_dims=3 and d_out=1, but the model 4 and 1"):
        check_construction(attach(step(), task=TASK), gradient_descent(3, 13, 0.5))


def test_a_predictor_without_layers_is_refused():
    with pytest.raises(MesascopeError, match="has no layers"):
        check_construction(attach(LeastSquares(), task=TASK), step())


def test_a_task_that_is_not_linear_is_refused():
    with pytest.raises(MesascopeError, match="sine is not linear regression"):
        check_construction(attach(gradient_descent(1, 13, 0.5), task=Sine(n_points=13)), gradient_descent(1, 13, 0.5))


def test_a_model_that_diverges_is_refused():
    with pytest.raises(MesascopeError, match="predicts NaN or infinity"):
        check_construction(attach(gradient_descent(4, 13, 1e39), task=TASK), gradient_descent(4, 13, 0.5), n_prompts=40)


def test_a_construction_that_diverges_is_not_the_same():
    found = checked(step(), gradient_descent(4, 13, [1e150, 1e150], dtype=D), n_prompts=40)
    assert found.verdict == "not the given construction"
    json.dumps(found.to_json(), allow_nan=False)
    assert found.figures()


def test_where_every_shift_makes_the_construction_worse_than_zero_there_is_only_overshooting():
    ids = [found.id for found in checked(step(20.0), step(20.0)).claims]
    assert "side-checks.overshoot" in ids and "side-checks.shifts" not in ids


def test_a_step_that_overshoots_otherwise_is_told_apart():
    found = checked(step(1.25 * ETA), step(ETA))
    assert claim(found, "overshoot").verdict == "overshoots otherwise"


def test_noise_in_the_task_is_no_obstacle():
    task = LinearRegression(n_dims=4, n_points=13, noise_std=0.5)
    assert checked(step(optimal_step(task).eta), task=task).verdict == "1 step of GD"
