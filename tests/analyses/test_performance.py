import json
import math
from dataclasses import replace

import pytest
import torch

from mesascope.analyses import Performance, attach, measure_performance
from mesascope.analyses.performance import SCALES, ScaleScan
from mesascope.models import (
    DecisionTree,
    FeatureLeastSquares,
    HookedRegressor,
    Learner,
    LeastSquares,
    LinearClassification,
    LinearRegression,
    MesascopeError,
    NearestNeighbours,
    PrefixMatching,
    Prompts,
    QuadraticRegression,
    RepeatedSequence,
    Ridge,
    Sine,
    SparseLinearRegression,
    Task,
)
from mesascope.models.inputs import Gaussian, Mixture
from mesascope.models.spectra import LogUniform
from mesascope.models.training.presets import read_preset
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


class Says:
    """The same number or logits at every point."""

    def __init__(self, value: torch.Tensor):
        self.value = value

    def predict(self, prompts: Prompts) -> torch.Tensor:
        return self.value.expand(*prompts.ys.shape, *self.value.shape)


def scan_of(result: Performance) -> ScaleScan:
    assert result.scale is not None
    return result.scale


@pytest.fixture(scope="module")
def exact() -> Performance:
    return measure_performance(attach(LeastSquares(), task=WIDE), n_prompts=200)


def test_least_squares_has_no_excess_over_itself(exact):
    (part,) = exact.components
    assert part.excess.value == 0 and part.excess.ci == (0, 0)
    assert part.model == part.reference
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


def test_with_noise_the_reference_is_the_bayes_optimal_ridge():
    # Its penalty is (noise_std/w_std)².
    task = LinearRegression(n_dims=5, n_points=12, noise_std=1.0, w_std=0.5)
    (best,) = measure_performance(attach(Ridge(4.0), task=task), n_prompts=1000).components
    assert best.excess.ci == (0, 0) and best.verdict == f"as good as {Ridge(4.0).label}"
    (worse,) = measure_performance(attach(Ridge(40.0), task=task), n_prompts=1000).components
    assert worse.verdict == f"learns, but worse than {Ridge(4.0).label}"
    assert worse.reference == best.reference == best.model


REFERENCES: list[tuple[Task, Learner]] = [
    (Sine(n_points=12), FeatureLeastSquares("fourier")),
    (QuadraticRegression(n_dims=2, n_points=12), FeatureLeastSquares("quadratic")),
    (SparseLinearRegression(n_dims=5, n_points=12), LeastSquares()),  # not the Lasso, which is slow
    (DecisionTree(n_dims=3, n_points=12, depth=2), NearestNeighbours(3)),  # nor the greedy tree
    (LinearClassification(n_dims=3, n_points=12), LeastSquares()),  # nor logistic regression
    (RepeatedSequence(n_dims=5, n_points=12, period=4), PrefixMatching(4, 1e-4)),
]


@pytest.mark.parametrize("task, learner", REFERENCES, ids=lambda value: getattr(value, "name", ""))
def test_the_reference_of_a_task_is_its_best_learner_that_is_quick_to_compute(task, learner):
    result = measure_performance(attach(learner, task=task), n_prompts=200)
    (part,) = result.components
    assert part.reference_name == learner.label and part.reference == part.model
    assert part.excess.ci == (0, 0)
    prompts = task.sample(200, seed=0, stream="performance", dtype=torch.float64)
    points = list(task.scored(12))
    losses = task.loss(learner.predict(prompts), prompts.ys)[:, points].mean(0)
    zeros = torch.zeros_like(learner.predict(prompts))
    null = task.loss(zeros, prompts.ys)[:, points].mean(0)
    assert part.model == pytest.approx((losses / null).tolist())
    assert result.points == tuple(points) and result.late == max(task.late, points[0])
    if part.skill.low > 0:
        assert part.verdict == f"as good as {learner.label}"
    assert f"the loss is 0 of that of predicting zero above that of {learner.label}" in result.claims[0].text


def test_a_linear_learner_does_not_solve_sine_waves():
    (part,) = measure_performance(attach(Ridge(1.0), task=Sine(n_points=12)), n_prompts=400).components
    assert part.excess.low > 0.5 and "as good" not in part.verdict


@pytest.mark.parametrize("logit", [0.0, 1.0])
def test_the_null_of_classification_is_a_coin(logit):
    result = measure_performance(attach(Says(torch.tensor(logit)), task=LinearClassification(n_points=12)), 400)
    # Labels are fair: a constant logit c costs the mean of log(1 + e^c) and log(1 + e^-c).
    expected = (math.log1p(math.exp(logit)) + math.log1p(math.exp(-logit))) / 2 / math.log(2)
    (part,) = result.components
    assert sum(part.model) / 12 == pytest.approx(expected, abs=1e-12 if logit == 0 else 0.03)
    assert part.skill.value == pytest.approx(1 - expected, abs=1e-12 if logit == 0 else 0.03)


@pytest.mark.parametrize(
    "task, d_out", [(LinearClassification(n_points=12), ()), (RepeatedSequence(n_dims=5, n_points=12, period=4), (5,))]
)
def test_where_y_has_no_scale_none_is_looked_for(task, d_out):
    result = measure_performance(attach(Says(torch.zeros(d_out)), task=task), n_prompts=100)
    assert result.scale is None and result.warnings == ()
    (claim,) = result.claims
    assert claim.verdict != "fits the model"
    assert [figure.id for figure in result.figures()] == ["performance-points"]
    assert not {"w_std", "scales", "relative_loss"} & result.data().keys()


def test_only_the_repetition_of_a_sequence_is_scored():
    task = RepeatedSequence(n_dims=6, n_points=20, period=8)

    class RightOnceItRepeats:
        def predict(self, prompts: Prompts) -> torch.Tensor:
            before = prompts.ys.roll(8, 1)  # what came a period ago
            before[:, :8] = (prompts.xs[:, :8].argmax(-1) + 1) % 6  # confidently wrong until then
            logits = torch.nn.functional.one_hot(before.long(), 6).double() * 50
            return logits

    result = measure_performance(attach(RightOnceItRepeats(), task=task), n_prompts=100)
    assert result.points == tuple(range(8, 20)) and result.late == 8
    assert result.components[0].skill.value == pytest.approx(1, abs=1e-6)
    assert result.components[0].verdict == "better than prefix matching of 4 tokens +0.0001"
    assert len(result.components[0].model) == len(result.components[0].reference) == 12


def test_an_untrained_induction_model_has_no_skill():
    preset = read_preset("induction")
    result = measure_performance(attach(HookedRegressor(preset.model, 3), task=preset.task), n_prompts=100)
    (part,) = result.components
    assert part.skill.value == pytest.approx(0, abs=0.05)
    assert part.verdict in ("no better than zero", "undetermined")
    assert part.untrained_excess == pytest.approx(part.excess.value, abs=0.1)


def test_a_model_that_reads_no_scored_point_is_refused(predicts_y):
    class Unscored(LinearRegression):
        def scored(self, n_points: int) -> range:
            return range(n_points - 1)

    with pytest.raises(MesascopeError, match="reads no point that the task scores; attach with another task"):
        measure_performance(attach(predicts_y, task=Unscored(n_dims=3, n_points=9)))


def test_json_holds_every_number_under_its_name(exact):
    content = json.loads(json.dumps(exact.to_json(), allow_nan=False))
    assert content.keys() == {"claims", "warnings", "data"}
    data = content["data"]
    assert data.keys() == {"n_prompts", "points", "components", "w_std", "scales", "relative_loss"}
    (part,) = data["components"]
    assert part.keys() == {"name", "model", "reference", "untrained", "excess", "skill"}
    assert part["reference"]["name"] == "least squares" and len(part["reference"]["loss"]) == len(data["points"]) == 20
    assert part["excess"].keys() == part["skill"].keys() == {"value", "ci"}
    assert data["scales"] == pytest.approx(list(SCALES)) and len(data["relative_loss"]) == 13


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
    scan = scan_of(result)
    assert scan.learns and scan.fits is fits
    # Steps of √2, and the loss is flat about its minimum.
    assert 0.35 < scan.best_w_std < 0.6
    assert result.claims[-1].verdict == ("fits the model" if fits else "not the scale trained on")
    if fits:
        assert result.warnings == ()
    else:
        (warning,) = result.warnings
        assert "w_std=1," in warning and "State it with --w-std" in warning


def test_a_predictor_that_scales_with_y_fits_any_scale(exact):
    scan = scan_of(exact)
    assert scan.gain.value == pytest.approx(0, abs=1e-12)
    assert scan.learns and scan.fits and scan.warnings == exact.warnings == ()
    assert exact.claims[-1].verdict == "fits the model"


def test_a_predictor_that_saturates_is_best_at_the_smallest_scale():
    result = measure_performance(attach(Saturating(), task=WIDE), n_prompts=200)
    scan = scan_of(result)
    assert list(scan.relative_loss) == sorted(scan.relative_loss)
    assert scan.best_w_std == pytest.approx(SCALES[0])
    assert not scan.fits
    assert scan.best.value == scan.relative_loss[0]


def test_a_model_that_learns_at_no_scale_says_nothing_of_the_scale():
    # Five, whatever the prompt: least bad where y is largest, but nowhere better than zero.
    result = measure_performance(attach(Says(torch.tensor(5.0)), task=WIDE), n_prompts=200)
    scan, claim = scan_of(result), result.claims[-1]
    assert scan.relative_loss[-1] == min(scan.relative_loss) < scan.relative_loss[6] / 3
    assert not scan.learns and result.warnings == ()
    assert scan.best_w_std == 1.0
    assert claim.verdict == "undetermined"
    assert "not clearly below that of predicting zero, nor is it at any other scale" in claim.text


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
