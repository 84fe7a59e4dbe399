from dataclasses import replace

import pytest
import torch
from scipy.stats import norm

from mesascope.analyses.identification.contest import Contest
from mesascope.analyses.identification.discrimination import (
    N_NEAREST,
    NOISE,
    SAME,
    Discrimination,
    Separation,
    discriminate,
    needed,
)
from mesascope.models import (
    Averaging,
    GradientDescent,
    LeastSquares,
    LinearRegression,
    NearestNeighbours,
    Newton,
    OnlineGradientDescent,
    Ridge,
)
from mesascope.models.battery import Target, rivals
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import LogUniform

TASK = LinearRegression(n_dims=3, n_points=9, inputs=Gaussian(spectrum=LogUniform(kappa=30)))
POINTS = list(range(1, 9))
FAMILIES = ("Newton", "ridge", "least squares", "averaging", "nearest neighbours", "GD", "online GD")
LEARNERS = {
    x.family: x
    for x in (
        Newton(3),
        Ridge(0.5),
        LeastSquares(),
        Averaging(),
        NearestNeighbours(2),
        GradientDescent(9, 0.11),
        OnlineGradientDescent(0.15),
    )
}


@pytest.fixture(scope="module")
def contest():
    found = [sweep for sweep in rivals(TASK) if sweep.learner.family in FAMILIES]
    return Contest(TASK.sample(60, seed=0, dtype=torch.float64), POINTS, found)


@pytest.fixture(scope="module")
def plan(contest):
    return discriminate(contest, LEARNERS, contest.target(Newton(3)))


# How many prompts.


@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_so_many_prompts_see_the_difference_nine_times_in_ten(sigma):
    """A simulation of the test that is counted for: is Σ (ŷ−ŷ_B)² − (ŷ−ŷ_A)² significantly positive over prompts?"""
    prompts = TASK.sample(4000, seed=0, dtype=torch.float64)
    a, b = (learner.predict(prompts)[:, 1:] for learner in (Ridge(0.5), Ridge(0.6)))
    missed, size = (a - b).square().sum(1), a.square().sum(1)
    n = needed(missed, size, sigma**2)
    assert n is not None and 3 < n < 2000
    rng, wins, repetitions = torch.Generator().manual_seed(0), 0, 2000
    for _ in range(repetitions):
        picked = torch.randint(len(prompts), (n,), generator=rng)
        model = a[picked] + sigma * torch.randn(n, 8, generator=rng, dtype=torch.float64)
        difference = (model - b[picked]).square().sum(1) - (model - a[picked]).square().sum(1)
        error = (missed.var() + 4 * sigma**2 * missed.mean()).sqrt() / n**0.5
        wins += bool(difference.mean() > norm.ppf(0.975) * error)
    assert wins / repetitions == pytest.approx(0.9, abs=0.06)  # normal theory on few, skewed prompts


def test_more_noise_needs_more_prompts_and_a_larger_difference_fewer():
    missed, size = torch.rand(100, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), torch.ones(100)
    size = size.double()
    few, more, most = (needed(missed, size, sigma2) for sigma2 in (0.0, 1.0, 10.0))
    assert few is not None and more is not None and most is not None and few < more < most
    farther = needed(4 * missed, size, 1.0)
    assert farther is not None and farther < more


def test_prompts_do_not_depend_on_the_units_of_y():
    missed = torch.rand(100, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one, other = (needed(c * missed, c * torch.ones(100).double(), c * 3.0) for c in (1.0, 1e6))
    assert one == other


def test_no_number_of_prompts_tells_the_same_from_the_same():
    size = torch.ones(10, dtype=torch.float64)
    assert needed(torch.zeros(10, dtype=torch.float64), size, 0.1) is None
    assert needed(0.99 * SAME * size, size, 0.1) is None
    assert needed(1.01 * SAME * size, size, 0.1) is not None


def test_two_prompts_are_the_fewest():
    size = torch.ones(10, dtype=torch.float64)
    assert needed(size, size, 0.0) == 2  # without variance one would do


# Rivals.


def test_the_nearest_families_are_told_apart_in_their_order(plan):
    assert len(LEARNERS) > N_NEAREST
    assert plan.families == tuple(LEARNERS)[:N_NEAREST]
    assert len(plan.confusion) == N_NEAREST and all(len(row) == N_NEAREST for row in plan.confusion)


def test_each_learner_is_itself_and_others_are_imitated_as_well_as_they_can_be(contest, plan):
    for index, family in enumerate(plan.families):
        assert plan.confusion[index][index] == 0
        preds = contest.target(LEARNERS[family])
        found = Target(contest.prompts, POINTS, preds)
        for other, share in zip(plan.families, plan.confusion[index], strict=True):
            if other != family:
                assert share <= found.distance(LEARNERS[other]) / found.size + 1e-12  # refitted, not as it was


def test_pairs_are_the_nearest_learner_against_each_other_hardest_first(plan):
    assert all(pair.planted == Newton(3).label for pair in plan.separations)
    # Least squares is what Newton becomes: the simpler name is given to both, so they need not be told apart.
    rivals_ = {pair.rival for pair in plan.separations}
    assert len(rivals_) == N_NEAREST - 2 and LeastSquares().label not in rivals_
    prompts = [pair.n_prompts for pair in plan.separations]
    known = [n for n in prompts if n is not None]
    assert prompts[len(prompts) - len(known) :] == sorted(known, reverse=True)
    assert plan.hardest is plan.separations[0]
    assert plan.worst == min(plan.apart)


def test_noise_is_one_percent_of_what_the_model_predicts(contest):
    preds = contest.target(Newton(3))
    some = {family: LEARNERS[family] for family in ("Newton", "ridge")}
    ours, louder = (discriminate(contest, some, factor * preds).hardest for factor in (1.0, 10.0))
    assert ours is not None and louder is not None
    assert ours.share == louder.share and ours.n_prompts is not None and louder.n_prompts is not None
    assert ours.n_prompts < louder.n_prompts
    best = contest.fit(preds, n_refined=1, among=["ridge"])["ridge"]
    missed = (contest.target(best) - preds).square().sum(1)
    assert ours.n_prompts == needed(missed, preds.square().sum(1), NOISE * preds.square().mean().item())


def test_one_family_alone_has_nothing_to_be_told_from(contest):
    alone = discriminate(contest, {"Newton": Newton(3)}, contest.target(Newton(3)))
    assert alone.hardest is None and alone.separations == () and alone.worst == 1 and alone.confusion == ((0.0,),)
    assert alone.warnings(10) == ()


def test_families_that_predict_the_same_are_said_to(contest):
    # Ridge without a penalty is least squares, but Newton after many steps is, too, and neither is the other's limit.
    plan = discriminate(contest, {"Newton": Newton(60), "ridge": Ridge(1e-9)}, contest.target(LeastSquares()))
    assert plan.hardest is not None and plan.hardest.n_prompts is None
    assert "predicts the same" in str(plan.hardest) and "no number of them tells which" in str(plan.hardest)


def test_a_separation_says_how_many_prompts():
    text = str(Separation("A", "B", 0.0123, 12_345))
    assert text == "B leaves 0.012 of A unexplained; 12,345 prompts tell them apart"


@pytest.mark.parametrize("n_prompts, n_warnings", [(100, 1), (99, 1), (500, 0), (501, 0)])
def test_too_few_prompts_warn_of_the_hardest_pair(n_prompts, n_warnings):
    hard, easy, same = Separation("A", "B", 0.01, 500), Separation("A", "C", 0.5, 3), Separation("A", "D", 0.0, None)
    plan = Discrimination((same, hard, easy), ("A", "B", "C", "D"), (), ())
    *found, never = plan.warnings(n_prompts)
    assert len(found) == n_warnings
    assert all("500 prompts" in text and f"With {n_prompts} prompts" in text for text in found)
    assert never == "No number of such prompts tells some rivals apart: D predicts the same as A."
    two = replace(plan, separations=(same, replace(same, rival="E"))).warnings(n_prompts)
    assert two == ("No number of such prompts tells some rivals apart: D, E predict the same as A.",)
    assert replace(plan, separations=(easy,)).warnings(n_prompts) == ()


def test_data_hold_all_pairs(plan):
    data = plan.data()
    assert data["families"] == list(plan.families) and len(data["pairs"]) == len(plan.separations)
    assert data["pairs"][0]["rival"] == plan.separations[0].rival
