"""What an identification reports, and what it refuses."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from mesascope.analyses import attach, fit_readouts, identify
from mesascope.analyses.claim import REACHED
from mesascope.analyses.identification import identification
from mesascope.analyses.identification.examination import Examination
from mesascope.analyses.leaks import N_LEAK
from mesascope.analyses.scope import N_TWINS
from mesascope.models import (
    HookedRegressor,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    Newton,
    Prompts,
    RegressorConfig,
    ReluNetwork,
    RepeatedSequence,
    gradient_descent,
)
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import Geometric

from ..conftest import WIDE, decoder
from .quickly import FEW, ISOTROPIC, Made, quick, some


def test_the_model_is_claimed_first_and_then_every_layer_with_interval_and_floor(newton_3, one_step):
    model, output = newton_3.claims
    assert (model.id, output.id) == ("identification.model", "identification.output")
    assert output.verdict == "Newton" and output.text.startswith("The output is explained to 1.0000 by Newton k=3")
    for claim in (model, output):
        assert claim.ci is not None and claim.value is not None and claim.null is not None
        assert claim.ci[0] <= claim.value <= claim.ci[1] and claim.null < claim.value
    assert "k = 3 [3, 3]" in model.text
    assert newton_3.headlines == (model,)
    assert [claim.id for claim in one_step.claims] == [
        "identification.model",
        "identification.output",
        "identification.layer_1",
        "identification.input",
    ]


def test_the_floor_holds_untrained_twins_and_shuffled_prompts(newton_3, one_step):
    assert newton_3.output.untrained is None  # a learner has no twin
    assert 0 <= newton_3.output.shuffled == newton_3.output.floor < 0.5
    output = one_step.output
    assert output.untrained is not None and output.floor == max(0, output.shuffled, output.untrained)
    assert output.evidence.untrained_skill is not None


def test_numbers_are_json_and_complete(newton_3, one_step):
    for result in (newton_3, one_step):
        json.dumps(result.to_json(), allow_nan=False)
        data = result.data()
        assert data["verdict"] == result.verdict and data["scorecard"] is None
        assert [layer["label"] for layer in data["layers"]] == [layer.label for layer in result.layers]
        families = {match["family"] for match in data["layers"][-1]["matches"]}
        assert families == set(FEW)


def test_figures_are_drawn_for_what_is_there(newton_3, one_step):
    assert [figure.id for figure in newton_3.figures()] == ["identification-unexplained", "identification-confusion"]
    assert "identification-unexplained" in [figure.id for figure in one_step.figures()]
    alone = quick(Newton(3), rivals=some(WIDE, "Newton"))
    assert [figure.id for figure in alone.figures()] == ["identification-unexplained"]
    for figure in (*newton_3.figures(), *one_step.figures()):
        assert figure.guide.endswith(".") and figure.plot.data


def test_how_many_prompts_it_takes_is_said_before_scoring():
    said = []
    order: list[str] = []

    def predict(prompts):
        if len(prompts) != N_LEAK:
            order.append(f"predicts {len(prompts)}")
        return Newton(3).predict(prompts)

    def on_plan(plan):
        said.append(plan)
        order.append("plan")

    result = quick(Made(predict), on_plan=on_plan)
    assert said == [result.discrimination]
    assert order[:2] == ["predicts 80", "plan"] and "plan" not in order[2:]


@pytest.mark.parametrize("n_prompts, warned", [(40, True), (5000, False)])
def test_too_few_prompts_to_tell_rivals_apart_warn(newton_3, n_prompts, warned):
    hardest = newton_3.discrimination.hardest
    assert hardest is not None
    hard = replace(newton_3.discrimination, separations=(replace(hardest, n_prompts=1000),))
    warnings = replace(newton_3, n_prompts=n_prompts, discrimination=hard).warnings
    assert bool(warnings) is warned
    if warned:
        assert "With 40 prompts some rivals cannot be told apart" in warnings[0] and "1,000 prompts" in warnings[0]


def test_a_task_that_is_not_linear_in_x_says_that_its_learners_are_not_listed():
    task = ReluNetwork(n_dims=3, n_points=8)
    result = quick(LeastSquares(), task, rivals=some(task, "least squares", "ridge", "averaging"), n_prompts=60)
    assert "not linear in x" in result.warnings[0]
    assert not any("not linear" in warning for warning in quick(LeastSquares(), n_prompts=60).warnings)


# A model that implements a learner, and one that only matches it.


@pytest.mark.parametrize("shifts", [True, False])
def test_only_what_survives_the_shifts_is_implemented(shifts):
    result = quick(Newton(3), shifts=shifts)
    assert (result.scorecard is not None) is shifts
    assert result.summary == ("implements Newton" if shifts else "Newton")
    assert result.claims[0].verdict == result.summary
    assert ("identification-scorecard" in [figure.id for figure in result.figures()]) is shifts


def test_what_is_not_named_is_not_shifted():
    assert quick(Made(lambda p: -LeastSquares().predict(p)), shifts=True).scorecard is None


# What a user can do.


@pytest.mark.parametrize("analysis", [identify, fit_readouts])
def test_what_compares_real_numbers_refuses_a_task_of_tokens_in_one_line(analysis):
    cfg = RegressorConfig(n_dims=6, n_points=12, n_layers=1, n_heads=2, d_model=8, d_out=6, layout="sequence")
    task = RepeatedSequence(n_dims=6, n_points=12, period=5)
    with pytest.raises(MesascopeError, match="^repeated_sequence is no regression task; [^\n]*$"):
        analysis(attach(HookedRegressor(cfg), task=task))


def test_a_bare_predictor_of_tokens_is_refused_before_it_predicts():
    with pytest.raises(MesascopeError, match="repeated_sequence is no regression task"):
        identify(attach(Made(lambda prompts: None), task=RepeatedSequence()))


def test_prompts_of_one_point_are_too_short():
    with pytest.raises(MesascopeError, match="reads no point after the first of n_points=1; use longer prompts"):
        quick(LeastSquares(), LinearRegression(n_dims=2, n_points=1))


def test_prompts_of_two_points_are_enough_to_be_judged():
    task = LinearRegression(n_dims=2, n_points=2)
    result = quick(LeastSquares(), task)
    assert "least squares" in result.verdict or result.verdict == "no algorithm"


def test_a_singular_spectrum_is_no_trouble():
    task = LinearRegression(n_dims=3, n_points=9, inputs=Gaussian(spectrum=Geometric(kappa=1e12)))
    result = quick(LeastSquares(), task)
    assert math.isfinite(result.output.evidence.ceiling.value)


def test_a_task_of_another_dimension_is_refused():
    with pytest.raises(MesascopeError, match="task has n_dims=5 but the model has n_dims=3"):
        quick(decoder(), WIDE)


@pytest.mark.parametrize("name", ["n_prompts", "n_tune"])
def test_too_few_prompts_are_refused(name):
    def options(n: int) -> dict[str, Any]:
        return {name: n}

    with pytest.raises(MesascopeError, match=f"{name}=39: expected at least 40"):
        quick(LeastSquares(), **options(39))
    assert quick(LeastSquares(), ISOTROPIC, **options(40))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_an_untrained_decoder_gets_no_algorithm_at_any_layer(seed):
    task = LinearRegression(n_dims=3, n_points=8)
    result = quick(decoder(seed, n_layers=1), task, n_prompts=100, n_tune=60)
    assert [layer.label for layer in result.layers] == ["input", "layer 1", "final norm", "output"]
    assert all(layer.verdict.text in ("no algorithm", REACHED) for layer in result.layers)


def test_how_surely_a_rival_is_excluded_is_said_in_the_claim_and_where_it_is_drawn(newton_3):
    others = [match for match in newton_3.output.evidence.matches[:4] if match.family != "Newton"]
    assert others and all(
        f"{match.label} {1 - match.unexplained.value:.4f}, {match.beaten:.1%}" in newton_3.claims[1].text
        for match in others
    )
    plot = newton_3.figures()[0].plot
    traces = {trace.name: trace for trace in plot.data}
    assert traces["ridge"].hovertemplate.endswith("<br>%{text}")
    assert traces["ridge"].text == ("the nearest is nearer in 100.0% of bootstraps",)
    assert traces["by any filter or combination"].text is None


def one_step_of(n_dims, sign=1.0):
    task = LinearRegression(n_dims=n_dims, n_points=12)
    step = gradient_descent(n_dims, 12, [sign * 0.5])
    return quick(step, task, rivals=some(task, "GD", "averaging", "ridge"))


@pytest.mark.parametrize("n_dims", [2, 3])
def test_an_exact_step_in_few_dimensions_is_told_from_untrained_models(n_dims):
    """A random layer has cosines up to one half there: of five, mean and deviation would allow more than 1."""
    result = one_step_of(n_dims)
    untrained = result.output.evidence.untrained_skill
    assert result.verdict == "GD" and untrained is not None and untrained.high < 1


def test_what_every_other_untrained_model_is_gets_no_name_in_one_dimension():
    """A random layer is one step of GD there, forwards or backwards."""
    result = one_step_of(1)
    assert result.verdict == REACHED and not result.output.verdict.named
    assert "an untrained twin may predict as much" in result.claims[0].text + result.claims[1].text


def test_a_step_away_from_y_is_said_to_predict_against_it():
    result = one_step_of(3, sign=-1)
    assert result.verdict == "no algorithm" and "it predicts against y" in result.output.verdict.reason


@pytest.mark.parametrize("unsettled, n_more", [(True, 3), (False, 0)])
def test_of_a_model_with_fitted_readouts_further_twins_settle_the_output_alone(monkeypatch, unsettled, n_more):
    seen: list[int] = []
    monkeypatch.setattr(identification, "N_RANKED", N_TWINS + 3)
    monkeypatch.setattr(Examination, "unsettled", lambda self, subject: unsettled)

    def skill(self, preds):
        seen.append(len(preds))
        return 0.99

    monkeypatch.setattr(Examination, "skill", skill)
    result = quick(decoder(0, n_layers=1), LinearRegression(n_dims=3, n_points=8), n_prompts=60, n_tune=40)
    assert seen == [40] * n_more
    output, first = (layer.evidence.untrained_skill for layer in (result.output, result.layers[0]))
    assert output is not None and (output.high > 0.9) is unsettled
    assert first is not None and first.high < 0.9


class Leaking:
    """It returns the answer."""

    def predict(self, prompts: Prompts) -> torch.Tensor:
        return prompts.ys.clone()


def test_a_predictor_that_sees_the_answer_is_refused_in_one_line():
    with pytest.raises(MesascopeError, match="^<.*Leaking.*> predicts y at point [^\n]* from the y of point [^\n]*$"):
        quick(Leaking())


def test_no_rivals_are_refused():
    with pytest.raises(MesascopeError, match="^identify got no rivals; [^\n]*$"):
        identify(attach(LeastSquares(), task=WIDE), rivals=[])
