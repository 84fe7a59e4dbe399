import json

import pytest
import torch

from mesascope.analyses import attach, measure_similarity
from mesascope.models import (
    HookedRegressor,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    NearestNeighbours,
    Newton,
    QuadraticRegression,
    RegressorConfig,
    RepeatedSequence,
)
from mesascope.models.learners.base import Sweep

from ..conftest import STEP_TASK, WIDE
from .conftest import FEW, match_of, quick

VERDICTS = {"above its floor", "no more than its floor", "undetermined"}


def test_claims_say_what_was_found_and_name_no_algorithm_as_verdict(newton_3, layered):
    assert [claim.id for claim in newton_3.claims] == ["similarity.errors.output", "similarity.weights.output"]
    errors, weights = newton_3.claims
    assert "The output errs most like Newton k=3, with similarity 1.0000; its floor is" in errors.text
    assert "The output holds weights most like those of Newton k=3" in weights.text
    assert errors.value is not None and errors.null is not None and errors.null < errors.value
    assert newton_3.headlines == (errors,)
    stages = ["output", "final_norm", "layer_2", "layer_1", "input"]
    assert [claim.id for claim in layered.claims] == [
        f"similarity.{by}.{s}" for by in ("errors", "weights") for s in stages
    ]
    assert {claim.verdict for claim in (*newton_3.claims, *layered.claims)} <= VERDICTS


def test_the_numbers_are_json(layered):
    content = json.loads(json.dumps(layered.to_json(), allow_nan=False))
    data = content["data"]
    assert data["errors"]["layers"][-1]["label"] == "output"
    assert data["errors"]["courses"]["Newton"]["steps"] == list(range(1, 9))
    assert data["errors"]["courses"]["Newton"]["r2"] == {"linear": None, "exponential": None}
    assert data["weights"]["layers"][0]["matches"][0]["untrained"]["value"] < 0.5
    assert len(data["convergence"]["iterates"]["GD"]) == 4


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(newton_3):
    assert quick(Newton(3)).data() == newton_3.data()
    other = quick(Newton(3), seed=1)
    assert other.seed == 1 and other.errors.output.best.learner == Newton(3)
    assert match_of(other, "ridge").similarity != match_of(newton_3, "ridge").similarity


def test_a_scope_measures_once():
    scope = attach(Newton(3), task=WIDE)
    first = measure_similarity(scope, n_prompts=80, rivals=FEW)
    assert measure_similarity(scope, n_prompts=80, rivals=FEW) is first
    assert measure_similarity(scope, n_prompts=82, rivals=FEW) is not first


@pytest.mark.parametrize(
    "task",
    [QuadraticRegression(n_dims=3, n_points=9), LinearRegression(n_dims=1, n_points=9)],
    ids=["not linear", "one dimension"],
)
def test_weights_are_not_compared_where_they_mean_nothing(task):
    result = quick(LeastSquares(), task)
    assert result.weights is None and result.linear_task == task.linear
    assert bool(result.warnings) is not task.linear
    assert all("weights" not in figure.id for figure in result.figures())


def test_rivals_without_weights_are_compared_by_errors_alone():
    result = quick(LeastSquares(), rivals=(Sweep(NearestNeighbours(2)),))
    assert result.weights is None
    assert [figure.id for figure in result.figures()] == ["similarity-errors"]


@pytest.mark.parametrize(
    "options, complaint",
    [
        ({"rivals": ["Newtn"]}, "^no rival is called 'Newtn'; did you mean 'Newton'[?]$"),
        ({"rivals": []}, "^rivals=[(][)]: expected a family or a sweep, or None for every family$"),
        ({"n_prompts": 39}, "^n_prompts=39: expected at least 40 to compare on$"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, complaint):
    with pytest.raises(MesascopeError, match=complaint):
        quick(LeastSquares(), **options)


def test_prompts_of_one_point_are_too_short():
    with pytest.raises(MesascopeError, match="reads no point after the first of n_points=1; use longer prompts"):
        quick(LeastSquares(), LinearRegression(n_dims=2, n_points=1))


def test_tokens_are_refused():
    cfg = RegressorConfig(n_dims=6, n_points=12, n_layers=1, n_heads=2, d_model=8, d_out=6, layout="sequence")
    scope = attach(HookedRegressor(cfg), task=RepeatedSequence(n_dims=6, n_points=12, period=5))
    with pytest.raises(MesascopeError, match="repeated_sequence is no regression task"):
        measure_similarity(scope)


def test_a_model_that_predicts_nan_is_refused(predicts_y):
    broken = HookedRegressor(predicts_y.cfg)
    with torch.no_grad():
        broken.attentions[0].W_V.fill_(float("nan"))
    with pytest.raises(MesascopeError, match="predicts NaN or infinity"):
        quick(broken, STEP_TASK, n_prompts=800)
