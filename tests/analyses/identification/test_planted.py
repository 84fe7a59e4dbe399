"""A planted learner is found by name, an outsider gets none."""

import json

import pytest
import torch

from mesascope.models import (
    BFGS,
    LBFGS,
    Averaging,
    Chebyshev,
    ConjugateGradient,
    DiscreteMMSE,
    GradientDescent,
    GradientDescentPlusPlus,
    Lasso,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    Momentum,
    NearestNeighbours,
    Newton,
    OnlineGradientDescent,
    PreconditionedGradientDescent,
    Ridge,
    ScheduledGradientDescent,
    bayes_optimal,
)
from mesascope.models.battery import rivals
from mesascope.models.inputs import Gaussian
from mesascope.models.learners.base import Sweep
from mesascope.models.spectra import Geometric

from ..conftest import WIDE
from .quickly import FEW, ISOTROPIC, Made, quick, some, with_noise

PLANTS = [
    GradientDescent(16, 0.0437),
    GradientDescent(32, 0.01, "sum"),
    ScheduledGradientDescent((0.05, 0.2, 0.4)),
    GradientDescentPlusPlus((0.15, 0.3), (0.15, 0.0)),
    Momentum(6, 0.1, 0.6),
    Chebyshev(3),
    ConjugateGradient(2),
    BFGS(2),
    LBFGS(3),
    Newton(3),
    Newton(5, "twice_spectral"),
    Newton(6, "twice_frobenius"),
    Ridge(0.5),
    bayes_optimal(WIDE.model_copy(update={"noise_std": 0.5})),
    LeastSquares(),
    OnlineGradientDescent(0.15),
    Averaging(),
    NearestNeighbours(3),
]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("learner", PLANTS, ids=lambda learner: learner.label)
def test_a_planted_learner_is_found_by_name_with_its_scalars(learner, noise):
    families = {sweep.learner.family for sweep in rivals(WIDE)} - {"lasso"}  # which alone costs seconds
    n_tune = 100 if len(learner.parameters()) < 2 else 256  # several scalars are fitted to some of the noise
    result = quick(with_noise(learner, noise) if noise else learner, rivals=some(WIDE, *families), n_tune=n_tune)
    assert result.verdict == learner.family
    output = result.output
    assert output.verdict.named and output.learner.family == learner.family
    assert output.best.unexplained.value == pytest.approx(noise**2 / (1 + noise**2), rel=0.2, abs=1e-4)
    if not noise and learner.family != "conjugate gradient":  # BFGS is written as CG
        assert output.learner.strength == pytest.approx(learner.strength, rel=1e-2)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_lasso_is_found_by_name(noise):
    task = LinearRegression(n_dims=3, n_points=9, noise_std=0.1)
    learner = Lasso(0.1)
    result = quick(with_noise(learner, noise, task), task, rivals=some(task, *FEW, "lasso"), n_prompts=100, n_tune=60)
    assert result.verdict == "lasso"


def test_the_prior_of_a_pool_is_found_by_name():
    pool = DiscreteMMSE(8, 0.3, WIDE.w_std, 0)
    result = quick(DiscreteMMSE(8, 0.5, WIDE.w_std, 0), rivals=[*some(WIDE), Sweep(pool)])
    assert result.verdict == "discrete MMSE"
    assert result.output.learner.noise_std == pytest.approx(0.5, rel=1e-3)  # type: ignore[attr-defined]


def test_a_preconditioner_is_found_where_prompts_share_their_covariance():
    shared = LinearRegression(n_dims=3, n_points=10, inputs=Gaussian(spectrum=Geometric(kappa=10), basis="axes"))
    learner = PreconditionedGradientDescent.of(1, torch.diag(torch.tensor([0.6, 0.3, 0.1])).double())
    found = quick(learner, shared, rivals=some(shared, *FEW, "scheduled GD", "preconditioned GD"))
    assert found.verdict == "preconditioned GD"


@pytest.mark.parametrize(
    "learner, noise_std",
    [(LeastSquares(), 1.0), (Ridge(25.0), 5.0), (Newton(3), 1.0), (GradientDescent(12, 0.1), 0.0)],
    ids=lambda value: getattr(value, "label", value),
)
def test_noise_and_divergence_on_a_few_prompts_hide_no_exact_learner(learner, noise_std):
    task = LinearRegression(n_dims=5, n_points=20, noise_std=noise_std)
    assert quick(learner, task).verdict == learner.family


@pytest.mark.slow
@pytest.mark.parametrize("n_steps, eta", [(3, 0.3), (9, 0.11), (7, 0.07), (21, 0.03), (5, 0.13)])
def test_gd_is_found_between_the_grids_steps_and_step_sizes(n_steps, eta):
    result = quick(GradientDescent(n_steps, eta), ISOTROPIC)
    assert result.verdict == "GD" and result.output.best.unexplained.value < 1e-6
    assert result.output.strength["τ"].value == pytest.approx(n_steps * eta, rel=0.01)


@pytest.mark.parametrize("learner", [Newton(60), Ridge(1e-9)], ids=lambda learner: learner.label)
def test_what_has_converged_is_least_squares(learner):
    assert quick(learner, ISOTROPIC).verdict == "least squares"


def test_one_step_of_size_one_is_averaging(one_step):
    output = one_step.output
    assert output.label == "output" and one_step.verdict == "averaging"
    assert output.best.unexplained.value < 1e-6  # the model is float32
    first = one_step.layers[0]
    assert first.label == "input" and first.verdict.text == "no algorithm"


# What is not listed.


@pytest.mark.parametrize("c", [0.3, 0.6, 0.8, 1.5])
def test_a_scaled_learner_is_only_like_it(c):
    result = quick(Made(lambda p: c * Newton(3).predict(p)))
    assert not result.output.verdict.named
    assert result.verdict in ("like Newton, but not it", "none of the listed")
    if c in (0.6, 0.8):
        assert result.output.verdict.reason == f"it is {c:.2f} of Newton k=3"


@pytest.mark.parametrize(
    "predictor",
    [
        Made(lambda p: torch.zeros_like(p.ys)),
        Made(lambda p: torch.full_like(p.ys, 3.0)),
        Made(lambda p: -LeastSquares().predict(p)),
        Made(lambda p: LeastSquares().predict(p).roll(1, 0)),  # another prompt's
        Made(lambda p: torch.randn(p.ys.shape, generator=torch.Generator().manual_seed(0)).double()),
    ],
    ids=["zero", "constant", "negated", "shuffled", "noise"],
)
def test_what_predicts_nothing_is_no_algorithm(predictor):
    result = quick(predictor)
    assert result.verdict == result.summary == "no algorithm" and result.scorecard is None
    claim = result.claims[0]
    assert "given no name" in result.claims[1].text and "\n" not in claim.text
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    "outsider",
    [
        Made(lambda p: LeastSquares().predict(p) + 1.0),
        Made(lambda p: LeastSquares().predict(p).abs().sqrt() * LeastSquares().predict(p).sign()),
    ],
    ids=["shifted", "root"],
)
def test_the_nearest_of_the_listed_is_no_name_for_an_outsider(outsider):
    verdict = quick(outsider, ISOTROPIC).output.verdict
    assert not verdict.named and verdict.text.startswith(("like ", "undetermined", "none of"))


@pytest.mark.slow
@pytest.mark.parametrize("t", [0.3, 0.6])
def test_a_mixture_is_named_with_its_share(t):
    mixed = Made(lambda p: t * LeastSquares().predict(p) + (1 - t) * NearestNeighbours(1).predict(p))
    result = quick(mixed)
    assert set(result.output.verdict.families) == {"least squares", "nearest neighbours"}
    assert result.output.verdict.named and result.verdict.startswith("mixture of ")
    share = float(result.verdict.split("t=")[1])
    assert share == pytest.approx(t if result.verdict.startswith("mixture of least") else 1 - t, abs=0.01)


def test_a_predictor_of_nan_is_refused_in_one_line():
    broken = Made(lambda p: p.ys / 0 * 0)
    with pytest.raises(MesascopeError, match="^[^\n]* predicts NaN or infinity on 16 of 16 prompts; take [^\n]*$"):
        quick(broken)
