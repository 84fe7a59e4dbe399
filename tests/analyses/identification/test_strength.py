import pytest
import torch
from scipy.stats import binom

from mesascope.analyses.identification.strength import measure_share, measure_strength
from mesascope.models import (
    GradientDescent,
    GradientDescentPlusPlus,
    LeastSquares,
    LinearRegression,
    NearestNeighbours,
    Newton,
    Ridge,
    ScheduledGradientDescent,
)
from mesascope.models.battery import Target, bounded, polish, refine
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import LogUniform

TASK = LinearRegression(n_dims=3, n_points=9, inputs=Gaussian(spectrum=LogUniform(kappa=10)), noise_std=0.2)
POINTS = list(range(1, 9))


def target_of(learner, noise=0.0, n_prompts=100, seed=0):
    prompts = TASK.sample(n_prompts, seed=seed, dtype=torch.float64)
    preds = bounded(learner.predict_at(prompts, POINTS), prompts, POINTS)
    rng = torch.Generator().manual_seed(seed)
    return Target(prompts, POINTS, preds + noise * torch.randn(preds.shape, generator=rng, dtype=torch.float64))


@pytest.mark.parametrize(
    "learner, symbols",
    [
        (GradientDescent(7, 0.1), {"τ"}),
        (Ridge(0.5), {"r"}),
        (Newton(3), {"k"}),
        (LeastSquares(), set()),
        (ScheduledGradientDescent((0.1, 0.3)), {"η1", "η2"}),
        (GradientDescentPlusPlus((0.1, 0.3), (0.2, 0.0)), {"η1", "η2", "γ1"}),
    ],
    ids=lambda value: getattr(value, "label", ""),
)
def test_an_exact_learner_has_its_own_strength_and_no_doubt(learner, symbols):
    found = measure_strength(learner, target_of(learner))
    assert set(found) == symbols == set(learner.strength)
    for symbol, estimate in found.items():
        assert estimate.value == learner.strength[symbol]
        assert estimate.low == pytest.approx(estimate.value) == estimate.high


def test_noise_widens_the_interval_in_proportion():
    learner = Ridge(0.5)
    little, much = (measure_strength(learner, target_of(learner, noise))["r"] for noise in (0.01, 0.03))
    assert little.low < 0.5 < little.high
    assert (much.high - much.low) / (little.high - little.low) == pytest.approx(3, rel=1e-6)


def test_four_times_the_prompts_halve_the_interval():
    learner = Ridge(0.5)
    few, many = (measure_strength(learner, target_of(learner, 0.1, n))["r"] for n in (200, 800))
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2, rel=0.25)


def test_with_one_scalar_the_sandwich_is_the_textbooks():
    learner, target = Ridge(0.5), target_of(Ridge(0.5), 0.1)
    estimate = measure_strength(learner, target)["r"]
    h = 1e-4
    slope = (target.predict(Ridge(0.5 * (1 + h))) - target.predict(Ridge(0.5 * (1 - h)))) / h  # ∂/∂r
    left_in = 1 - slope.square().sum(1) / slope.square().sum()  # what a prompt's own weight leaves of its residual
    scores = (slope * (target.predict(learner) - target.preds)).sum(1) / left_in
    error = scores.square().sum().sqrt() / slope.square().sum() * (99 / 100) ** 0.5
    assert estimate.high - estimate.value == pytest.approx(1.98422 * error.item(), rel=1e-4)  # t of 99 degrees


def test_a_free_number_of_steps_makes_the_strength_of_gradient_descent_less_certain_not_more():
    # One step has no neighbour below: its step size alone is estimated.
    learner = GradientDescent(8, 0.1)
    target = target_of(learner, 0.1)
    estimate = measure_strength(learner, target)["τ"]
    eta = polish(learner, target)
    slope = (target.predict(GradientDescent(8, 0.1 * 1.0001)) - target.predict(GradientDescent(8, 0.1 * 0.9999))) / (
        8 * 0.1 * 0.0002
    )
    scores = (slope * (target.predict(learner) - target.preds)).sum(1)
    fixed_steps = (scores.square().sum().sqrt() / slope.square().sum()).item()
    assert estimate.high - estimate.value > 1.9 * fixed_steps
    assert estimate.low < eta.strength["τ"] < estimate.high


def test_the_range_of_steps_is_that_of_those_that_are_not_significantly_worse():
    exact = measure_strength(Newton(4), target_of(Newton(4)))["k"]
    assert (exact.low, exact.value, exact.high) == (4, 4, 4)
    noisy = measure_strength(Newton(9), target_of(Newton(9), 1.5))["k"]
    assert 0 < noisy.low < 9 < noisy.high  # noise hides which step it is, but not that there were some


def test_steps_that_no_longer_matter_are_open_upwards_to_twice():
    assert measure_strength(Newton(20), target_of(LeastSquares()))["k"].high == 40


def test_the_interval_is_clustered_by_prompt():
    """The same prompts twice are no more evidence: errors of one prompt hang together."""
    learner, target = Ridge(0.5), target_of(Ridge(0.5), 0.0)
    rng = torch.Generator().manual_seed(0)
    by_prompt = 0.1 * torch.randn(len(target.preds), 1, generator=rng, dtype=torch.float64)
    own = 0.1 * torch.randn(target.preds.shape, generator=rng, dtype=torch.float64)

    def width(noise):
        found = measure_strength(learner, Target(target.prompts, POINTS, target.preds + noise))["r"]
        return found.high - found.low

    sloped = target.predict(Ridge(0.6)) - target.predict(Ridge(0.4))
    assert width(by_prompt * sloped.sign()) > 1.5 * width(own)


def test_a_mixtures_share_is_that_of_least_squares_with_the_textbooks_interval():
    a, b = LeastSquares(), Newton(2)
    target = target_of(a, 0.1)
    exact = 0.3 * target.predict(a) + 0.7 * target.predict(b)
    noise = target.preds - target.predict(a)
    found = measure_share(a, b, Target(target.prompts, POINTS, exact + noise))
    along = target.predict(a) - target.predict(b)
    t = 0.3 + ((noise * along).sum() / along.square().sum()).item()
    left_in = 1 - along.square().sum(1) / along.square().sum()  # what a prompt's own weight leaves of its residual
    scores = ((exact + noise - target.predict(b) - t * along) * along).sum(1) / left_in
    error = (scores.square().sum().sqrt() / along.square().sum() * (99 / 100) ** 0.5).item()
    assert found.value == pytest.approx(t, rel=1e-9)
    assert (
        found.high - found.value == pytest.approx(found.value - found.low) == pytest.approx(1.98422 * error, rel=1e-4)
    )


def test_a_share_is_surer_where_no_scalar_is_uncertain_too():
    a, b = Ridge(0.5), NearestNeighbours(2)
    target = target_of(b, 0.1)
    mixed = Target(target.prompts, POINTS, 0.5 * target.predict(a) + 0.5 * target.preds)
    free = measure_share(a, b, mixed)

    class Fixed(Ridge):
        def parameters(self):
            return super().parameters()[:0]

    fixed = measure_share(Fixed(0.5), b, mixed)
    assert free.value == pytest.approx(fixed.value)
    assert free.high - free.low > 1.05 * (fixed.high - fixed.low)


def test_both_sides_of_a_mixture_share_what_is_known():
    a, b = Ridge(0.5), NearestNeighbours(2)
    target = target_of(b, 0.1)
    mixed = Target(target.prompts, POINTS, 0.4 * target.predict(a) + 0.6 * target.preds)
    one, other = measure_share(a, b, mixed), measure_share(b, a, mixed)
    assert one.value == pytest.approx(1 - other.value)
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))


@pytest.mark.slow
@pytest.mark.parametrize(
    "learner",
    [Ridge(0.5), GradientDescent(6, 0.1), GradientDescentPlusPlus((0.15, 0.3), (0.15, 0.0)), Newton(4)],
    ids=lambda learner: learner.family,
)
def test_intervals_cover_as_often_as_they_say(learner):
    n, hits = 60, dict.fromkeys(learner.strength, 0)
    for seed in range(n):
        target = target_of(learner, 0.3, n_prompts=60, seed=seed)
        found = measure_strength(refine(learner, target), target)
        for symbol, truth in learner.strength.items():
            hits[symbol] += found[symbol].low <= truth <= found[symbol].high
    # Two-sided at 1e-3 for 95%; a range of whole steps covers more.
    low, high = binom.ppf([0.0005, 0.9995], n, 0.95)
    assert all(low <= count <= high for count in hits.values()), hits
