import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from mesascope.models import (
    GradientDescent,
    GradientDescentPlusPlus,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    Newton,
    Ridge,
)
from mesascope.models.inputs import OneHot
from mesascope.probes import SplineFilter, choose_filter
from tests.models.learners.prompts import rotated
from tests.probes.prompts import noise, sampled


@pytest.fixture(scope="module")
def prompts():
    return sampled()


LEARNERS = [
    GradientDescent(1, 0.1),
    GradientDescent(64, 0.1),
    GradientDescentPlusPlus((0.2, 0.5), (0.1, 0.0)),
    Newton(1),
    Newton(6),
    Newton(4, "twice_spectral"),
    Ridge(0.3),
    Ridge(3.0),
    LeastSquares(),
]


def score(found, prompts, preds):
    """Share of Σŷ² that a filter explains."""
    return 1 - ((preds - found.predict(prompts)).square().sum() / preds.square().sum()).item()


@pytest.mark.parametrize("noise_std", [0.0, 0.1])
@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_exact_filters_are_explained_on_prompts_never_fitted(learner, noise_std):
    prompts, others = sampled(2000, 10.0, noise_std), sampled(500, 10.0, noise_std, seed=1)
    points = [3, 10, 15]
    found = choose_filter(prompts, learner.predict(prompts)[:, points], points)
    # Newton from 2/λ_max² steps down to zero at λ_max itself: no smooth curve ends so.
    kinked = learner == Newton(4, "twice_spectral")
    assert score(found, others, learner.predict(others)[:, points]) >= (0.99 if kinked else 0.9999)


@pytest.mark.parametrize("learner", [LEARNERS[1], LEARNERS[4], LEARNERS[6]], ids=repr)
def test_as_many_noisy_points_as_dimensions_cost_little(learner):
    # There S is nearly singular, and what least squares predicts has no variance.
    prompts, others = sampled(2000, 10.0, 0.1), sampled(500, 10.0, 0.1, seed=1)
    found = choose_filter(prompts, learner.predict(prompts)[:, [5]], [5])
    assert score(found, others, learner.predict(others)[:, [5]]) >= 0.999


def test_the_filter_equals_a_direct_regression_on_splines(prompts):
    preds = Newton(3).predict(prompts)[:, [10]] + 0.1 * noise(1000, 1)
    found = SplineFilter(5, "top").fit(prompts, preds, [10])
    rows = []
    for b in range(len(prompts)):
        X, y, x_q = prompts.xs[b, :10].numpy(), prompts.ys[b, :10].numpy(), prompts.xs[b, 10].numpy()
        left, singular, right = np.linalg.svd(X, full_matrices=False)
        knots = found.bases_[0].knots
        padded = np.r_[[knots[0]] * 3, knots, [knots[-1]] * 3]
        log = np.clip(np.log(singular**2 / singular.max() ** 2), knots[0], knots[-1])
        splines = BSpline.design_matrix(log, padded, 3).toarray()
        rows.append((right @ x_q * (left.T @ y) / singular) @ splines)
    coef = np.linalg.lstsq(np.array(rows), preds[:, 0].numpy(), rcond=None)[0]
    np.testing.assert_allclose(found.coefs_[0], coef, rtol=1e-6)
    np.testing.assert_allclose(found.predict(prompts)[:, 0], np.array(rows) @ coef, atol=1e-9)


@pytest.mark.parametrize("learner, unit", [(GradientDescent(8, 0.15), "points"), (Newton(3), "frobenius")], ids=repr)
def test_the_unit_chosen_is_the_learners(learner, unit, prompts):
    points = [5, 10, 15]
    assert choose_filter(prompts, learner.predict(prompts)[:, points], points).unit == unit


@pytest.mark.parametrize("seed", [0, 1])
def test_the_fit_does_not_see_the_coordinates_of_x(seed, prompts):
    points = [2, 5, 10, 15]  # fewer than, as many as and more than w has unknowns
    preds = Newton(2).predict(prompts)[:, points] + 0.1 * noise(1000, 4)
    turned = rotated(prompts, seed)
    found, again = (choose_filter(some, preds, points, [4, 8]) for some in (prompts, turned))
    torch.testing.assert_close(found.predict(prompts), again.predict(turned))


def test_one_hot_inputs_have_few_eigenvalues():
    # λ counts how often a token came: five distinct values, of which cubic splines could make more columns than that.
    task = LinearRegression(n_dims=4, n_points=6, inputs=OneHot(n_dims=4))
    prompts = task.sample(400, seed=0, dtype=torch.float64)
    learner = Ridge(0.5)
    found = choose_filter(prompts, learner.predict(prompts)[:, [1, 5]], [1, 5])
    assert score(found, prompts, learner.predict(prompts)[:, [1, 5]]) > 0.9999
    # After one point every λ is 1.
    assert len(found.bases_[0].knots) == 1 and found.coefs_[0].item() == pytest.approx(1 / 1.5)


def test_before_the_first_point_a_filter_predicts_zero(prompts):
    found = SplineFilter().fit(prompts, noise(1000, 2), [0, 3])
    assert not found.predict(prompts)[:, 0].any()
    assert found.predict(prompts)[:, 1].any()


def test_zero_predictions_and_rounding_are_fitted_by_zero(prompts):
    for preds in (torch.zeros(1000, 1).double(), 1e-16 * noise(1000, 1)):
        assert not SplineFilter().fit(prompts, preds, [10]).predict(prompts).any()


def test_fit_forgets_what_was_fitted_before(prompts):
    first, second = (learner.predict(prompts)[:, [10]] for learner in (Ridge(1.0), Newton(3)))
    again = SplineFilter().fit(prompts, first, [10]).fit(prompts, second, [10])
    torch.testing.assert_close(again.coefs_, SplineFilter().fit(prompts, second, [10]).coefs_)


@pytest.mark.parametrize(
    "call, complaint",
    [
        (
            lambda prompts: SplineFilter().fit(prompts[:39], prompts.ys[:39, [3]], [3]),
            "n_prompts=39: a spectral response needs at least 40",
        ),
        (lambda prompts: SplineFilter(1).fit(prompts, prompts.ys[:, [3]], [3]), "n_knots=1: expected at least 2"),
        (
            lambda prompts: SplineFilter(unit="tops").fit(prompts, prompts.ys[:, [3]], [3]),
            "no unit of λ is called 'tops'; did you mean 'top'",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(call, complaint, prompts):
    with pytest.raises(MesascopeError, match=complaint):
        call(prompts)


def test_a_filter_that_was_not_fitted_predicts_nothing(prompts):
    with pytest.raises(ValueError, match="was not fitted; call fit first"):
        SplineFilter().predict(prompts)
