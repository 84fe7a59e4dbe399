from dataclasses import replace

import pytest
import torch

from mesascope.analyses.identification.candidates import Candidates
from mesascope.analyses.identification.ceiling import Stack
from mesascope.analyses.identification.contest import Contest
from mesascope.analyses.identification.evidence import gather
from mesascope.analyses.identification.strength import measure_share
from mesascope.models import Averaging, Learner, LeastSquares, LinearRegression, NearestNeighbours, Newton, Ridge
from mesascope.models.battery import Target, bounded, rivals
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import LogUniform
from mesascope.probes import Estimate

TASK = LinearRegression(n_dims=3, n_points=9, inputs=Gaussian(spectrum=LogUniform(kappa=30)), noise_std=0.2)
POINTS = list(range(1, 9))
FAMILIES = ("Newton", "ridge", "least squares", "averaging", "nearest neighbours")
SKILL = Estimate(0.8, 0.7, 0.9)


@pytest.fixture(scope="module")
def contest():
    found = [sweep for sweep in rivals(TASK) if sweep.learner.family in FAMILIES]
    return Contest(TASK.sample(60, seed=0, stream="tune", dtype=torch.float64), POINTS, found)


def scored(predict, prompts):
    return bounded(predict(prompts)[:, 1:], prompts, POINTS)


def examined(contest, predict, n_prompts=120, n_blocks=40, seed=0, twin=None, blend=False):
    """Candidates, fresh prompts, predictions on them, and the evidence."""
    tune = Target(contest.prompts, POINTS, scored(predict, contest.prompts))
    candidates = Candidates.of(contest, tune.preds)
    if blend:
        blends = tuple((a, b, measure_share(a, b, tune)) for a, b in contest.blend(tune.preds))
        candidates = replace(candidates, blends=blends)
    fresh = TASK.sample(n_prompts, seed=1, dtype=torch.float64)
    preds = scored(predict, fresh)
    products = candidates.products(fresh, POINTS, preds, n_blocks)
    found = gather(candidates, products, SKILL, twin, torch.Generator().manual_seed(seed))
    return candidates, Target(fresh, POINTS, preds), found


def mix(prompts):
    return 0.5 * LeastSquares().predict(prompts) + 0.5 * NearestNeighbours(1).predict(prompts)


@pytest.fixture(scope="module")
def mixture(contest):
    return examined(contest, mix, blend=True)


def test_shares_are_those_of_brute_force_nearest_first(mixture):
    candidates, target, evidence = mixture
    size = target.preds.square().sum().item()
    ys = target.prompts.ys[:, 1:]
    ceiling = (1 - evidence.ceiling.value) * size
    for match in evidence.matches:
        learner = candidates.learners[match.family]
        distance, pred = target.distance(learner), target.predict(learner)
        assert match.label == learner.label and match.n_scalars == len(learner.parameters())
        assert match.unexplained.value == pytest.approx(distance / size, rel=1e-9)
        scale = min((pred - ys).square().sum().item(), pred.square().sum().item())
        assert match.missed.value == pytest.approx((distance - ceiling) / scale, rel=1e-6)
    values = [match.unexplained.value for match in evidence.matches]
    assert values == sorted(values)


def test_the_ceiling_is_the_best_of_spline_stack_and_families(contest, mixture):
    candidates, target, evidence = mixture
    size = target.preds.square().sum().item()
    stack = (candidates.stack.predict(target) - target.preds).square().sum().item()
    assert evidence.ceiling.value == pytest.approx(1 - stack / size)
    # An exact learner is as near as anything can be: it misses nothing.
    _, _, exact = examined(contest, Newton(3).predict)
    assert exact.matches[0].family == "Newton" and exact.matches[0].missed.high <= 1e-12
    assert exact.ceiling.value == pytest.approx(1)


def test_the_nearest_is_beaten_by_none_and_as_close_as_itself(mixture):
    _, _, evidence = mixture
    assert evidence.matches[0].beaten == 0 and evidence.matches[0].closeness == pytest.approx(1)
    assert all(0 <= match.beaten <= 1 for match in evidence.matches)
    closeness = [match.closeness for match in evidence.matches]
    assert closeness == sorted(closeness, reverse=True)


def test_a_rival_that_leaves_less_than_a_filter_and_a_regression_is_not_far(contest):
    """Nobody who is no party to it explains what it leaves, so that it misses nothing, surely beaten or not."""
    pair: dict[str, Learner] = {"ridge": Ridge(0.5), "Newton": Ridge(0.6)}
    fresh = TASK.sample(120, seed=1, dtype=torch.float64)
    noise = 0.3 * torch.randn(120, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    preds = scored(Ridge(0.5).predict, fresh) + noise
    poor = Stack([NearestNeighbours(1)]).fit(Target(fresh, POINTS, preds))
    candidates = Candidates.of(contest, scored(Averaging().predict, contest.prompts))
    candidates = replace(candidates, learners={**pair, "averaging": Averaging()}, stack=poor)
    products = candidates.products(fresh, POINTS, preds, 40)
    found = gather(candidates, products, SKILL, None, torch.Generator().manual_seed(0))
    nearest, second, far = found.matches
    assert nearest.missed.value == 0 and second.closeness >= 1
    assert far.family == "averaging" and far.closeness <= 0 and far.beaten == 1


def test_a_far_rival_is_beaten_in_every_resample_of_an_exact_learner(contest):
    _, _, evidence = examined(contest, Newton(3).predict)
    assert all(match.beaten == 1 and match.closeness < 1e-6 for match in evidence.matches[1:])


def test_two_that_predict_the_same_never_beat_each_other(contest):
    both: dict[str, Learner] = {"ridge": Ridge(1e-12), "least squares": LeastSquares()}
    fresh = TASK.sample(120, seed=1, dtype=torch.float64)
    preds = scored(LeastSquares().predict, fresh)
    candidates = replace(Candidates.of(contest, scored(LeastSquares().predict, contest.prompts)), learners=both)
    candidates = replace(candidates, stack=Stack(list(both.values())).fit(Target(fresh, POINTS, preds)))
    products = candidates.products(fresh, POINTS, preds, 40)
    found = gather(candidates, products, SKILL, None, torch.Generator().manual_seed(0))
    assert [match.beaten for match in found.matches] == [0, 0]


def test_intervals_hold_their_value_and_are_those_of_resampled_prompts(mixture):
    candidates, target, evidence = mixture
    for match in evidence.matches:
        assert match.unexplained.low < match.unexplained.value < match.unexplained.high
    # Against the delta method for a ratio of sums over prompts; 40 blocks of 3.
    match = evidence.matches[0]
    wrong = (target.predict(candidates.learners[match.family]) - target.preds).square().sum(1)
    size = target.preds.square().sum(1)
    scores = wrong - match.unexplained.value * size
    error = (scores.square().sum().sqrt() / size.sum()).item()
    assert (match.unexplained.high - match.unexplained.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.3)


def test_mixtures_carry_their_share(mixture):
    _, _, evidence = mixture
    best = next(b for b in evidence.blends if set(b.families) == {"least squares", "nearest neighbours"})
    assert best.t.value == pytest.approx(0.5, abs=1e-6) and best.missed.high < 1e-6
    assert evidence.blends[0].beaten == 0
    missed = [blend.missed.value for blend in evidence.blends]
    assert missed[0] <= min(missed) + 1e-12
    assert all(blend.beaten > 0.9 for blend in evidence.blends[1:] if blend.missed.value > 0.05)


def test_what_is_not_computed_here_is_handed_on(contest, mixture):
    _, _, evidence = mixture
    assert evidence.skill is SKILL and evidence.untrained_skill is None
    twin = Estimate(0.1, 0.0, 0.2)
    assert examined(contest, Newton(3).predict, twin=twin)[2].untrained_skill is twin
    assert evidence.limits["ridge"] == Ridge.limits


def test_the_same_seed_gives_the_same_evidence_and_another_other_intervals(contest, mixture):
    again, other = (examined(contest, mix, seed=seed, blend=True)[2] for seed in (0, 1))
    assert again == mixture[2]
    assert other.matches[0].unexplained.value == mixture[2].matches[0].unexplained.value
    assert other.matches[0].unexplained.low != mixture[2].matches[0].unexplained.low
