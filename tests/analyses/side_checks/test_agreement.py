import math
from dataclasses import fields

import pytest
import torch

from mesascope.analyses.side_checks.agreement import Agreement, Behaviour, at_the_query
from mesascope.models import gradient_descent, preconditioned_gradient_descent

from .specimens import TASK, D, rotated, rotation, step

PROMPTS = TASK.sample(400, seed=0, dtype=D)
YS = PROMPTS.ys[:, -1]
SKEW = torch.diag(torch.tensor([1.0, 0.8, 0.4, 0.2], dtype=D))


def behaviour(model, prompts=PROMPTS):
    return Behaviour.of(at_the_query(model), prompts)


def held_against(model, other=None):
    return Agreement.of(behaviour(model), behaviour(step() if other is None else other), YS)


def test_a_model_agrees_with_itself_in_everything():
    found = held_against(step())
    assert (found.difference.ci, found.slope_difference.ci) == ((0, 0), (0, 0))
    assert found.loss == found.other_loss
    for name in ("cosine", "loss_ratio", "similarity"):
        assert getattr(found, name).ci == pytest.approx((1, 1))
    assert found.verdict == "the same"


def test_numbers_are_those_of_their_formulas():
    mine, theirs = behaviour(step(0.5)), behaviour(preconditioned_gradient_descent(TASK.n_points, SKEW, dtype=D))
    found = Agreement.of(mine, theirs, YS)
    error, other = mine.preds - YS, theirs.preds - YS
    cosines = torch.nn.functional.cosine_similarity(mine.slopes, theirs.slopes, dim=1)
    expected = {
        "difference": ((mine.preds - theirs.preds).square().mean() / YS.square().mean()).sqrt(),
        "cosine": cosines.mean(),
        "slope_difference": (mine.slopes - theirs.slopes).norm() / theirs.slopes.norm(),
        "loss": error.square().sum() / YS.square().sum(),
        "other_loss": other.square().sum() / YS.square().sum(),
        "loss_ratio": error.norm() ** 2 / other.norm() ** 2,
        "similarity": error @ other / error.norm() / other.norm(),
    }
    assert {field.name for field in fields(found)} == set(expected)
    for name, value in expected.items():
        assert getattr(found, name).value == pytest.approx(value.item())
        assert getattr(found, name).low < value < getattr(found, name).high


def test_sensitivities_are_the_weights_of_a_step():
    weights = 0.7 * torch.einsum("bnd,bn->bd", PROMPTS.xs[:, :-1], PROMPTS.ys[:, :-1]) / 12
    torch.testing.assert_close(behaviour(step(0.7)).slopes, weights)


@pytest.mark.parametrize(
    ("other", "failing"),
    [
        (step(0.6), "loss_ratio"),
        (preconditioned_gradient_descent(TASK.n_points, SKEW, dtype=D), "cosine"),
        (gradient_descent(4, 13, [0.35, 0.35], dtype=D), "similarity"),
    ],
    ids=["another step size", "another metric", "two steps"],
)
def test_a_wrong_construction_is_told_apart(other, failing):
    found = held_against(step(), other)
    assert found.verdict == "not the same"
    threshold = {"cosine": 0.999, "similarity": 0.99}.get(failing)
    value = getattr(found, failing)
    assert value.high < threshold if threshold else not 1 / 1.01 < value.value < 1.01


def test_an_interval_across_a_threshold_is_undetermined():
    eta = next(eta for eta in (0.7 + 0.001 * k for k in range(60)) if held_against(step(eta)).loss_ratio.high > 1.01)
    found = held_against(step(eta))
    assert found.loss_ratio.low < 1.01
    assert found.verdict == "undetermined"


def test_nothing_changes_when_inputs_are_rotated():
    turned = type(PROMPTS)(PROMPTS.xs @ rotation(4), PROMPTS.ys, PROMPTS.w @ rotation(4))
    other = preconditioned_gradient_descent(TASK.n_points, SKEW, dtype=D)
    pair = Agreement.of(behaviour(rotated(step()), turned), behaviour(rotated(other), turned), YS)
    plain = held_against(step(), other)
    for field in fields(plain):
        assert getattr(pair, field.name).ci == pytest.approx(getattr(plain, field.name).ci)


def test_exact_predictors_agree_with_each_other_and_with_nothing_else():
    assert PROMPTS.w is not None
    exact = Behaviour(YS, PROMPTS.w)
    assert Agreement.of(exact, exact, YS).verdict == "the same"
    beside = Agreement.of(exact, behaviour(step()), YS)
    assert beside.similarity.value == 0
    assert beside.verdict == "not the same"


def test_predicting_zero_has_the_loss_one_and_no_direction():
    found = Agreement.of(Behaviour.zero(PROMPTS), behaviour(step()), YS)
    assert found.loss.value == 1
    assert found.cosine.value == 0


def test_a_predictor_that_diverged_is_not_the_same():
    broken = Behaviour(torch.full_like(YS, math.inf), behaviour(step()).slopes)
    found = Agreement.of(broken, behaviour(step()), YS)
    assert found.loss.value == found.difference.value == math.inf
    assert found.verdict == "not the same"


def test_in_one_dimension_the_cosine_is_over_prompts():
    slopes = torch.randn(60, 1, generator=torch.manual_seed(0), dtype=D)
    near = slopes + 0.1 * torch.randn(60, 1, dtype=D)
    found = Agreement.of(Behaviour(slopes[:, 0], slopes), Behaviour(near[:, 0], near), torch.ones(60, dtype=D))
    assert found.cosine.value == pytest.approx((slopes.T @ near / slopes.norm() / near.norm()).item())
    assert set(found.data()) == {field.name for field in fields(found)} | {"verdict"}
