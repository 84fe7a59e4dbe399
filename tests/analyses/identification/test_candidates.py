from dataclasses import replace

import pytest
import torch

from mesascope.analyses.identification.candidates import CEILINGS, N_NEAREST, PRED, Candidates, Y
from mesascope.analyses.identification.contest import Contest
from mesascope.analyses.identification.strength import measure_share
from mesascope.models import Lasso, LeastSquares, LinearRegression, NearestNeighbours, Newton, Ridge
from mesascope.models.battery import Target, bounded, rivals
from mesascope.models.inputs import Gaussian
from mesascope.models.learners.base import Sweep
from mesascope.models.spectra import LogUniform
from mesascope.probes import distances

TASK = LinearRegression(n_dims=3, n_points=9, inputs=Gaussian(spectrum=LogUniform(kappa=30)), noise_std=0.2)
POINTS = list(range(1, 9))
FAMILIES = ("Newton", "ridge", "least squares", "averaging", "nearest neighbours")


@pytest.fixture(scope="module")
def contest():
    found = [sweep for sweep in rivals(TASK) if sweep.learner.family in FAMILIES]
    return Contest(TASK.sample(60, seed=0, stream="tune", dtype=torch.float64), POINTS, found)


@pytest.fixture(scope="module")
def mixed(contest):
    """With two pairs whose mixtures may be near, the first of them the truth."""
    preds = 0.5 * contest.target(LeastSquares()) + 0.5 * contest.target(NearestNeighbours(1))
    target = Target(contest.prompts, POINTS, preds)
    pairs = contest.blend(preds)[:2]
    blends = tuple((a, b, measure_share(a, b, target)) for a, b in pairs)
    return replace(Candidates.of(contest, preds), blends=blends)


def test_families_come_nearest_first_and_mixtures_are_not_yet_tried(contest):
    found = Candidates.of(contest, contest.target(Newton(3)))
    assert found.blends == () and next(iter(found.learners)) == "Newton"
    assert set(found.learners) == set(FAMILIES)


def test_what_is_not_worth_more_is_fitted_on_the_grid_alone(contest):
    preds = 0.5 * contest.target(LeastSquares()) + 0.5 * contest.target(NearestNeighbours(1))
    found = Candidates.of(contest, preds, worth=False)
    assert found.blends == () and all(learner in contest.members for learner in found.learners.values())
    assert set(found.learners) == set(FAMILIES)


@pytest.mark.parametrize("near", [True, False])
def test_a_learner_that_must_be_fitted_prefix_by_prefix_is_scored_only_where_it_is_near(near):
    slow = Sweep(Lasso(0.1))
    assert not Lasso.batched
    sweeps = [sweep for sweep in rivals(TASK) if sweep.learner.family in FAMILIES]
    prompts = TASK.sample(40, seed=0, stream="tune", dtype=torch.float64)
    contest = Contest(prompts, POINTS, [*sweeps, slow])
    found = Candidates.of(contest, contest.target(Lasso(0.1) if near else NearestNeighbours(1)))
    assert ("lasso" in found.learners) is near
    assert len(found.learners) >= N_NEAREST


def test_products_hold_the_predictions_the_truth_all_families_both_ceilings_and_both_sides_of_each_mixture(mixed):
    prompts = TASK.sample(30, seed=1, dtype=torch.float64)
    preds = bounded(LeastSquares().predict(prompts)[:, 1:], prompts, POINTS)
    found = mixed.products(prompts, POINTS, preds, n_blocks=6)
    sides = [f"blend {i}{side}" for i in range(len(mixed.blends)) for side in "ab"]
    assert found.names == (PRED, Y, *mixed.learners, *CEILINGS, *sides)
    assert len(found.blocks) == 6
    ys, size = prompts.ys[:, 1:], preds.square().sum()
    row = found.total[found.index(PRED)]
    assert row[found.index(PRED)].item() == pytest.approx(size.item())
    assert row[found.index(Y)].item() == pytest.approx((preds * ys).sum().item())
    assert row[found.index("least squares")].item() == pytest.approx(size.item())
    a, b, _ = mixed.blends[0]
    for learner, side in ((a, "a"), (b, "b")):
        own = bounded(learner.predict(prompts)[:, 1:], prompts, POINTS)
        assert row[found.index(f"blend 0{side}")].item() == pytest.approx((preds * own).sum().item())


def unexplained(products):
    """What each ceiling leaves of the size of the predictions."""
    target = products.index(PRED)
    left = distances(products.total, target)[[products.index(name) for name in CEILINGS]]
    return left / products.total[target, target]


def test_the_stack_explains_a_mixture_on_prompts_never_fitted_and_the_spline_any_filter(contest, mixed):
    fresh = TASK.sample(60, seed=1, dtype=torch.float64)
    parts = [bounded(x.predict(fresh)[:, 1:], fresh, POINTS) for x in (LeastSquares(), NearestNeighbours(1))]
    shares = unexplained(mixed.products(fresh, POINTS, (parts[0] + parts[1]) / 2, 1))
    assert shares[1] < 1e-6 < 1e-2 < shares[0]  # a mean of one neighbour is no filter

    alone = Candidates.of(contest, 0.6 * contest.target(Ridge(0.7)))
    wanted = bounded(0.6 * Ridge(0.7).predict(fresh)[:, 1:], fresh, POINTS)
    assert (unexplained(alone.products(fresh, POINTS, wanted, 1)) < 0.02).all()


def test_predictions_of_zero_are_fitted_without_complaint(contest):
    zeros = torch.zeros(60, 8, dtype=torch.float64)
    found = Candidates.of(contest, zeros, worth=False)
    assert found.blends == () and set(found.learners) == set(FAMILIES)
