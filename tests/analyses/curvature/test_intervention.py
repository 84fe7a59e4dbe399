import math

import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.curvature.intervention import STREAM, ablate
from mesascope.analyses.curvature.members import find_members
from mesascope.analyses.matching import match_weights
from mesascope.analyses.matching.matching import own_bases
from mesascope.models import GradientDescentPlusPlus, LinearRegression, gd_plus_plus
from mesascope.models.inputs import Uniform
from tests.analyses.curvature.planted import ETAS, GAMMAS, LEARNER, TASK, planted


def ablated(scope, layers=(0, 1), n_prompts=200):
    bases = own_bases(scope)
    members = find_members(scope.hooked, bases, dict(zip(bases, match_weights(scope).layers, strict=True)))
    return ablate(scope, members, list(layers), n_prompts)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_loss_rises_as_the_learner_without_gamma_says(layer):
    scope = planted()
    gammas = tuple(0.0 if index == layer else gamma for index, gamma in enumerate(GAMMAS))
    prompts = scope.prompts(200, STREAM)
    without, own = (
        (learner.predict(prompts)[:, -1] - prompts.ys[:, -1]).square()
        for learner in (GradientDescentPlusPlus(ETAS, gammas), LEARNER)
    )
    found = ablated(scope)[layer]
    assert found.typical.value == pytest.approx((without / own).log().mean().exp().item())
    assert found.mean.value == pytest.approx((without.sum() / own.sum()).item())
    for estimate in (found.typical_predicted, found.mean_predicted):
        assert estimate.low < estimate.value < estimate.high
    assert found.typical_predicted.value == pytest.approx(found.typical.value)
    assert found.share.ci == pytest.approx((1, 1))


def test_a_layer_without_gamma_changes_nothing_and_nothing_is_predicted():
    found = ablated(planted(gammas=(0.0, 0.5, 0.0)))[0]
    assert found.typical.ci == (1.0, 1.0)
    assert found.share.ci == (0.0, 0.0)


def test_a_model_in_float32_is_measured_in_float64():
    single = attach(planted().hooked.float(), task=TASK)
    assert ablated(single)[0].typical.value == pytest.approx(ablated(planted())[0].typical.value, rel=1e-4)


def test_errors_below_the_models_rounding_count_as_rounding():
    # Steps that solve every prompt to 1e-11, where float32 ends at 1e-7: with or without γ nothing is left.
    model = gd_plus_plus(2, 201, [3.0] * 16, [0.01] + [0.0] * 15)
    task = LinearRegression(n_dims=2, n_points=201, inputs=Uniform(half_width=1.0))
    found = ablated(attach(model, task=task), layers=[0], n_prompts=40)[0]
    assert found.typical.ci == (1.0, 1.0)
    assert found.share.ci == (0.0, 0.0)


def test_the_rise_is_bounded_where_it_is_beyond_all_numbers():
    found = ablated(planted(etas=(1.0, 1.0, 1e150), gammas=(3.0, 1.0, 0.0)))[0]
    assert math.isfinite(found.typical.value)
    assert torch.tensor(list(found.share.ci)).isfinite().all()
