import pytest
import torch

from mesascope.analyses.identification.contest import Contest
from mesascope.models import (
    Averaging,
    GradientDescent,
    GradientDescentPlusPlus,
    LeastSquares,
    LinearRegression,
    NearestNeighbours,
    Newton,
    Ridge,
    ScheduledGradientDescent,
)
from mesascope.models.battery import Target, bounded, rivals
from mesascope.models.inputs import Gaussian
from mesascope.models.learners.base import Sweep
from mesascope.models.spectra import LogUniform

TASK = LinearRegression(n_dims=4, n_points=12, inputs=Gaussian(spectrum=LogUniform(kappa=30)), noise_std=0.1)
POINTS = list(range(1, 12))
SIMPLE = ("GD", "Newton", "ridge", "least squares", "averaging", "nearest neighbours")


def sweeps(*families):
    return [sweep for sweep in rivals(TASK) if sweep.learner.family in families]


@pytest.fixture(scope="module")
def contest():
    return Contest(TASK.sample(60, seed=0, stream="tune", dtype=torch.float64), POINTS, sweeps(*SIMPLE))


@pytest.fixture(scope="module")
def rich():
    families = (*SIMPLE, "GD++", "scheduled GD", "momentum")
    return Contest(TASK.sample(60, seed=0, stream="tune", dtype=torch.float64), POINTS, sweeps(*families))


def test_zero_stands_among_the_members_but_is_never_a_family_found(contest):
    assert contest.members[-1].family == "zero" and not contest.preds[-1].any()
    assert set(contest.fit(contest.target(Newton(3)), n_refined=0)) == set(SIMPLE)


def test_distances_to_all_members_equal_those_by_brute_force(contest):
    preds = contest.target(Newton(3))
    expected = (contest.preds - preds).square().sum((1, 2))
    torch.testing.assert_close(contest.distances(preds), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "learner",
    [
        Newton(3),
        Newton(5, "twice_spectral"),
        LeastSquares(),
        Ridge(0.3),
        GradientDescent(11, 0.07),
        NearestNeighbours(3),
    ],
    ids=lambda learner: learner.label,
)
def test_a_learner_is_found_exactly_and_first(contest, learner):
    preds = contest.target(learner)
    found = contest.fit(preds)
    assert next(iter(found)) == learner.family
    missed = (contest.target(found[learner.family]) - preds).square().sum()
    assert missed <= 1e-9 * preds.square().sum()


def test_families_come_nearest_first(contest):
    preds = contest.target(Newton(3))
    target = Target(contest.prompts, POINTS, preds)
    distances = [target.distance(learner) for learner in contest.fit(preds).values()]
    assert distances == sorted(distances)


def test_refining_brings_no_family_farther_than_its_nearest_on_the_grid(contest):
    preds = contest.target(Newton(3))
    target = Target(contest.prompts, POINTS, preds)
    fine, rough = contest.fit(preds), contest.fit(preds, n_refined=0)
    assert all(target.distance(fine[family]) <= target.distance(rough[family]) for family in rough)
    assert target.distance(fine["ridge"]) < target.distance(rough["ridge"])


def test_members_that_are_not_refined_are_those_of_the_grid(contest):
    found = contest.fit(contest.target(GradientDescent(11, 0.07)), n_refined=0)
    assert all(learner in contest.members for learner in found.values())


def test_some_families_may_be_tried_alone(contest):
    found = contest.fit(contest.target(Newton(3)), among=("ridge", "GD"))
    assert set(found) == {"ridge", "GD"}
    assert contest.fit(contest.target(Newton(3)), among=("no such",)) == {}


def test_richer_families_are_not_looked_for_where_a_special_case_explains_all(rich, monkeypatch):
    import mesascope.analyses.identification.contest as module

    started = []

    def first(starts, target):
        started.append(starts)
        return starts[0]

    monkeypatch.setattr(module, "_from_many_starts", first)
    rich.fit(rich.target(GradientDescent(11, 0.07)))
    assert started == []
    rich.fit(rich.target(ScheduledGradientDescent((0.05, 0.4, 0.8))))
    assert {group[0].family for group in started} == {"GD++", "scheduled GD"}


@pytest.mark.parametrize(
    "learner",
    [ScheduledGradientDescent((0.05, 0.4, 0.8)), GradientDescentPlusPlus((0.1, 0.3), (0.1, 0.0))],
    ids=lambda learner: learner.label,
)
def test_a_family_of_many_scalars_is_found_with_as_few_as_will_do(rich, learner):
    preds = rich.target(learner)
    found = rich.fit(preds)
    target = Target(rich.prompts, POINTS, preds)
    assert target.distance(found[learner.family]) <= target.floor
    assert len(found[learner.family].parameters()) == len(learner.parameters())


def test_two_steps_of_any_sizes_are_two_steps_with_momentum(rich):
    # (1−η₁λ)(1−η₂λ) is momentum's second residual for η = √(η₁η₂): the family without many starts keeps the name.
    preds = rich.target(ScheduledGradientDescent((0.1, 0.4)))
    family, learner = next(iter(rich.fit(preds).items()))
    assert family == "momentum" and learner.n_steps == 2
    assert learner.strength["τ"] == pytest.approx(0.2 * 2 / (1 - 0.5), rel=1e-4)


def test_what_noise_hides_is_not_fitted_by_more_scalars(rich):
    learner = ScheduledGradientDescent((0.05, 0.4, 0.8))
    exact = rich.target(learner)
    noise = (
        0.1
        * exact.square().mean().sqrt()
        * torch.randn(exact.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    found = rich.fit(exact + noise, unexplainable=noise.square().sum().item())
    assert len(found["scheduled GD"].parameters()) == 3


def test_the_share_explained_is_that_of_the_nearest_member_and_never_negative(contest):
    assert contest.explained(contest.target(Newton(3))) == pytest.approx(1)
    assert contest.explained(contest.preds[4]) == pytest.approx(1, abs=1e-9)
    assert contest.explained(-contest.target(LeastSquares())) == 0  # zero is nearest
    assert contest.explained(torch.zeros(60, 11, dtype=torch.float64)) == 0
    half = 0.5 * contest.target(LeastSquares())
    assert 0 < contest.explained(half) < 1


def test_a_family_that_is_hopeless_is_left_at_its_grid_point(contest):
    preds = -contest.target(LeastSquares())
    assert contest.fit(preds)["ridge"] in contest.members


def test_the_mixture_of_two_families_is_found_first(contest):
    truth = 0.4 * contest.target(Newton(3)) + 0.6 * contest.target(NearestNeighbours(2))
    pairs = contest.blend(truth)
    assert {learner.family for learner in pairs[0]} == {"Newton", "nearest neighbours"}
    assert {learner.label for learner in pairs[0]} == {Newton(3).label, NearestNeighbours(2).label}
    families = [tuple(sorted(learner.family for learner in pair)) for pair in pairs]
    assert len(set(families)) == len(families) <= 6


def test_a_scaled_learner_is_found_as_mixed_with_zero(contest):
    pairs = contest.blend(0.6 * contest.target(Newton(3)))
    assert [learner.family for learner in pairs[0]] == ["Newton", "zero"] and pairs[0][0] == Newton(3)


def test_no_mixture_is_one_beyond_either(contest):
    beyond = 1.5 * contest.target(LeastSquares()) - 0.5 * contest.target(Averaging())
    assert all({a.family, b.family} != {"least squares", "averaging"} for a, b in contest.blend(beyond))


def test_the_points_that_count_are_the_only_ones_seen():
    prompts = TASK.sample(40, seed=0, dtype=torch.float64)
    some = Contest(prompts, [3, 7], sweeps("Newton", "least squares"))
    torch.testing.assert_close(some.target(Newton(3)), bounded(Newton(3).predict(prompts)[:, [3, 7]], prompts, [3, 7]))
    assert some.preds.shape[1:] == (40, 2)
    assert next(iter(some.fit(some.target(Newton(3))))) == "Newton"


def test_learners_that_diverge_stand_at_the_bound_and_disturb_nothing():
    prompts = TASK.sample(40, seed=0, dtype=torch.float64)
    wild = Contest(prompts, POINTS, [Sweep(GradientDescent(4096, 50.0), (4096,)), Sweep(LeastSquares())])
    assert wild.preds.isfinite().all()
    assert list(wild.fit(wild.target(LeastSquares()))) == ["least squares", "GD"]
