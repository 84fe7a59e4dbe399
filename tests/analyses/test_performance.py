from dataclasses import replace

import pytest
import torch

from mesascope.analyses import Performance, attach, measure_performance
from mesascope.analyses.performance import SCALES
from mesascope.models import LeastSquares, LinearRegression, Prompts, Ridge
from mesascope.models.inputs import Gaussian, Mixture
from mesascope.models.spectra import LogUniform
from mesascope.probes import Estimate

from .conftest import GARG, STEP_TASK, WIDE, decoder


class Scaled:
    """Least squares times a factor."""

    def __init__(self, factor: float):
        self.factor = factor

    def predict(self, prompts: Prompts) -> torch.Tensor:
        return self.factor * LeastSquares().predict(prompts)


class Saturating:
    """Least squares whose predictions level off: at its best for small y only."""

    def predict(self, prompts: Prompts) -> torch.Tensor:
        return torch.tanh(LeastSquares().predict(prompts))


@pytest.fixture(scope="module")
def exact() -> Performance:
    return measure_performance(attach(LeastSquares(), task=WIDE), n_prompts=200)


def test_least_squares_has_no_excess_over_itself(exact):
    (part,) = exact.components
    assert part.excess.value == 0 and part.excess.ci == (0, 0)
    assert part.model == part.least_squares
    assert part.verdict == "as good as least squares"
    assert part.untrained == () and part.untrained_excess is None


@pytest.mark.parametrize("factor, excess", [(0.0, 1.0), (0.5, 0.25), (2.0, 1.0)])
def test_excess_of_scaled_least_squares_has_a_closed_form(factor, excess):
    # Where least squares is exact, factor·ŷ errs by (1 − factor)² y²: late points are those with t ≥ d + 3.
    result = measure_performance(attach(Scaled(factor), task=WIDE), n_prompts=200)
    assert result.components[0].excess.value == pytest.approx(excess, abs=1e-9)
    assert result.late == 8


@pytest.mark.parametrize(
    "factor, verdict", [(0.0, "no better than zero"), (-1.0, "no better than zero"), (0.8, "learns, but worse than")]
)
def test_verdicts_of_scaled_least_squares(factor, verdict):
    result = measure_performance(attach(Scaled(factor), task=WIDE), n_prompts=200)
    assert result.components[0].verdict.startswith(verdict)


def test_zero_has_skill_zero_at_every_point():
    result = measure_performance(attach(Scaled(0.0), task=WIDE), n_prompts=200)
    assert result.components[0].model == pytest.approx([1.0] * 20)
    assert result.components[0].skill.value == pytest.approx(0, abs=1e-12)


def test_the_right_ridge_beats_least_squares_on_noise():
    # Penalty (noise_std/w_std)² is Bayes-optimal.
    task = LinearRegression(n_dims=5, n_points=12, noise_std=1.0)
    assert measure_performance(attach(Ridge(1.0), task=task), n_prompts=1000).components[0].verdict == (
        "better than least squares"
    )


@pytest.mark.parametrize(
    "skill, excess, verdict",
    [
        ((0.5, 0.4, 0.6), (0.005, -0.005, 0.009), "as good as least squares"),
        ((0.5, 0.4, 0.6), (-0.1, -0.2, -0.05), "better than least squares"),
        ((0.5, 0.4, 0.6), (0.1, 0.05, 0.2), "learns, but worse than least squares"),
        ((0.5, 0.4, 0.6), (0.01, -0.01, 0.03), "undetermined"),
        ((0.0, -0.1, 0.1), (1.0, 0.9, 1.1), "undetermined"),
        ((-0.2, -0.3, -0.1), (1.0, 0.9, 1.1), "no better than zero"),
    ],
)
def test_every_verdict_follows_from_its_intervals(exact, skill, excess, verdict):
    part = replace(exact.components[0], skill=Estimate(*skill), excess=Estimate(*excess))
    assert part.verdict == verdict


def test_every_component_of_a_mixture_is_measured_by_itself():
    task = LinearRegression(
        n_dims=5, n_points=20, inputs=Mixture(components=(Gaussian(), Gaussian(spectrum=LogUniform(kappa=30))))
    )
    result = measure_performance(attach(Ridge(1.0), task=task), n_prompts=200)
    names = ["gaussian isotropic", "gaussian log_uniform(kappa=30)"]
    assert [part.name for part in result.components] == names
    assert [claim.id for claim in result.claims] == [*(f"performance.{name}" for name in names), "performance.w_std"]
    alone = measure_performance(attach(Ridge(1.0), task=WIDE), n_prompts=200)
    assert alone.components[0] == result.components[1]


@pytest.mark.parametrize("w_std, fits", [(5**-0.5, True), (1.0, False)])
def test_a_wrong_scale_of_w_is_noticed_on_a_real_checkpoint(w_std, fits):
    result = measure_performance(attach(GARG, w_std=w_std), n_prompts=400)
    assert result.fits_stated_scale is fits
    # Steps of √2, and the loss is flat about its minimum.
    assert 0.35 < result.best_w_std < 0.6
    assert result.claims[-1].verdict == ("fits the model" if fits else "not the scale trained on")
    if fits:
        assert result.warnings == ()
    else:
        (warning,) = result.warnings
        assert "w_std=1," in warning and "State it with --w-std" in warning


def test_a_predictor_that_scales_with_y_fits_any_scale(exact):
    assert exact.gain.value == pytest.approx(0, abs=1e-12)
    assert exact.fits_stated_scale and exact.warnings == ()


def test_a_predictor_that_saturates_is_best_at_the_smallest_scale():
    result = measure_performance(attach(Saturating(), task=WIDE), n_prompts=200)
    assert list(result.relative_loss) == sorted(result.relative_loss)
    assert result.best_w_std == pytest.approx(SCALES[0])
    assert not result.fits_stated_scale


def test_the_stated_scale_is_among_those_looked_at():
    assert SCALES[6] == 1.0 and len(SCALES) == 13


def test_the_untrained_twin_stands_beside_a_model():
    (part,) = measure_performance(attach(decoder()), n_prompts=200).components
    assert part.untrained_excess is not None and part.untrained_excess > 0.5
    assert len(part.untrained) == len(part.model) == 8


def test_a_model_that_reads_one_point_is_measured_there(predicts_y):
    result = measure_performance(attach(predicts_y, task=STEP_TASK), n_prompts=4000)
    assert result.points == (8,) and result.late == 8
    # One step with η=1 from n=8 points in d=3: E(y−ŷ)²/E y² = (d+1)/n, by the formula under `optimal_step`.
    assert result.components[0].model[0] == pytest.approx(4 / 8, rel=0.1)
    assert [figure.id for figure in result.figures()] == ["performance-points", "performance-scale"]


def test_short_prompts_have_no_late_points_so_all_count():
    task = LinearRegression(n_dims=5, n_points=4)
    result = measure_performance(attach(Scaled(0.0), task=task), n_prompts=200)
    assert result.late == 0
    assert result.components[0].excess.value < 1  # least squares errs there too


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    scope = attach(Ridge(1.0), task=WIDE)
    first, other = (measure_performance(scope, n_prompts=200, seed=seed) for seed in (None, 1))
    assert measure_performance(attach(Ridge(1.0), task=WIDE), n_prompts=200) == first
    assert other.components[0].excess.value != first.components[0].excess.value
    assert measure_performance(scope, n_prompts=200) is first
