import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from mesascope.analyses import Identification, attach, fit_readouts, identify, scope
from mesascope.analyses.identification import discrimination
from mesascope.analyses.identification.examination import N_LEAK
from mesascope.models import (
    BFGS,
    LBFGS,
    Averaging,
    Chebyshev,
    ConjugateGradient,
    DiscreteMMSE,
    GradientDescent,
    GradientDescentPlusPlus,
    HookedRegressor,
    Lasso,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    Momentum,
    NearestNeighbours,
    Newton,
    OnlineGradientDescent,
    PreconditionedGradientDescent,
    Prompts,
    RegressorConfig,
    ReluNetwork,
    RepeatedSequence,
    Ridge,
    ScheduledGradientDescent,
)
from mesascope.models.battery import bounded, rivals
from mesascope.models.inputs import Gaussian
from mesascope.models.learners.base import Sweep
from mesascope.models.spectra import Geometric
from mesascope.models.tasks import Regression
from tests.models.learners.prompts import rotated

from ..conftest import STEP_TASK, WIDE, decoder

ISOTROPIC = LinearRegression(n_dims=5, n_points=20)
FEW = ("GD", "Newton", "ridge", "least squares", "averaging", "nearest neighbours")


def some(task: Regression, *families: str) -> list[Sweep]:
    return [sweep for sweep in rivals(task) if sweep.learner.family in (families or FEW)]


def quick(target: object, task: Regression = WIDE, **options: object) -> Identification:
    """On few prompts, against a few families, where it was trained alone."""
    settings = {"n_prompts": 200, "n_tune": 80, "n_fit": 400, "shifts": False, "rivals": some(task)} | options
    return identify(attach(target, task=task), **settings)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def two_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """How hard the nearest rivals are to tell apart is asked of two, not of six: for nothing else takes as long."""
    monkeypatch.setattr(discrimination, "N_NEAREST", 2)


class Made:
    """A predictor made of others."""

    def __init__(self, predict):
        self.predict = predict


def with_noise(learner, share, task=WIDE):
    """A learner with errors of its own on top, relative to its predictions; other prompts, other errors."""

    # On prompts of its own: a scale of the predictions at hand would depend on every y.
    prompts = task.sample(1_000, seed=0, stream="scale", dtype=torch.float64)
    points = list(range(1, prompts.n_points))
    scale = share * bounded(learner.predict_at(prompts, points), prompts, points).square().mean().sqrt()

    def predict(prompts):
        exact = learner.predict(prompts)
        rng = torch.Generator().manual_seed(int(1e6 * prompts.xs.sum().abs()) % 2**31)
        return exact + scale * torch.randn(exact.shape, generator=rng).double()

    return Made(predict)


@pytest.fixture(scope="module")
def newton_3() -> Identification:
    return quick(Newton(3))


@pytest.fixture(scope="module")
def one_step(predicts_y: HookedRegressor) -> Identification:
    return quick(predicts_y, STEP_TASK)


# Planted learners.

PLANTS = [
    GradientDescent(16, 0.0437),
    ScheduledGradientDescent((0.05, 0.2, 0.4)),
    GradientDescentPlusPlus((0.15, 0.3), (0.15, 0.0)),
    Momentum(6, 0.1, 0.6),
    Chebyshev(3),
    ConjugateGradient(2),
    BFGS(2),
    LBFGS(3),
    Newton(3),
    Newton(5, "twice_spectral"),
    Ridge(0.5),
    LeastSquares(),
    OnlineGradientDescent(0.15),
    Averaging(),
    NearestNeighbours(3),
]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("learner", PLANTS, ids=lambda learner: learner.label)
def test_a_planted_learner_is_found_by_name_with_its_scalars(learner, noise):
    """Under noise among all families; exact predictions of it are no nearer to any of the others."""
    every = {sweep.learner.family for sweep in rivals(WIDE)} - {"lasso"}  # which alone costs seconds
    families = every if noise else {*FEW, learner.family}
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
    with pytest.raises(MesascopeError, match="^[^\n]* predicts NaN or infinity on 16 of 16 prompts$"):
        quick(broken)


# What must change nothing.


class Rotated(LinearRegression):
    """The same prompts in other coordinates."""

    def sample(self, *args, **options):
        return rotated(super().sample(*args, **options), seed=1)


class Scaled(LinearRegression):
    """The same prompts with y in other units."""

    def sample(self, *args, **options):
        prompts = super().sample(*args, **options)
        return Prompts(prompts.xs, -100 * prompts.ys, prompts.w)


class Permuted(LinearRegression):
    """The same points in another order."""

    def sample(self, *args, **options):
        prompts = super().sample(*args, **options)
        order = torch.randperm(prompts.n_points, generator=torch.Generator().manual_seed(0))
        return Prompts(prompts.xs[:, order], prompts.ys[:, order], prompts.w)


@pytest.mark.parametrize("other", [Rotated, Scaled, Permuted])
@pytest.mark.parametrize("learner", [Newton(3), GradientDescent(9, 0.11), NearestNeighbours(2)], ids=repr)
def test_coordinates_units_and_order_change_no_verdict(other, learner):
    plain, moved = (quick(learner, cls(**WIDE.model_dump())) for cls in (LinearRegression, other))
    assert moved.verdict == plain.verdict == learner.family
    assert moved.output.learner.strength == pytest.approx(plain.output.learner.strength, rel=1e-3)
    if other is not Permuted:  # other prefixes are other prompts
        one, two = ([m.unexplained.value for m in r.output.evidence.matches] for r in (plain, moved))
        assert two == pytest.approx(one, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("n", [37, 100])
def test_scoring_in_several_batches_equals_scoring_in_one(monkeypatch, newton_3, n):
    monkeypatch.setattr(scope, "BATCH", n)
    parts = quick(Newton(3))
    assert parts.verdict == newton_3.verdict
    pairs = zip(parts.output.evidence.matches, newton_3.output.evidence.matches, strict=True)
    for one, other in pairs:
        assert one.family == other.family
        assert one.unexplained.value == pytest.approx(other.unexplained.value, rel=1e-9, abs=1e-15)
        # Other blocks of prompts are resampled.
        assert one.unexplained.low == pytest.approx(other.unexplained.low, rel=0.1, abs=1e-15)
    assert parts.output.evidence.skill.value == pytest.approx(newton_3.output.evidence.skill.value)


def test_memory_is_bounded_whatever_the_number_of_prompts(monkeypatch):
    monkeypatch.setattr(scope, "BATCH", 50)
    seen: list[int] = []

    def predict(prompts):
        seen.append(len(prompts))
        return Newton(3).predict(prompts)

    quick(Made(predict), n_prompts=230, n_tune=50)
    assert max(seen) <= 50 and sum(size for size in seen if size != N_LEAK) == 280


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(newton_3, monkeypatch):
    monkeypatch.undo()  # as many are told apart as in the fixture
    assert quick(Newton(3)).data() == newton_3.data()
    other = quick(Newton(3), seed=1)
    assert other.seed == 1 and other.verdict == "Newton"
    assert other.output.evidence.matches[1].unexplained.value != newton_3.output.evidence.matches[1].unexplained.value


def test_a_scope_is_examined_once_for_the_same_settings():
    seen = attach(Newton(3), task=WIDE)
    options: dict[str, Any] = {"n_prompts": 60, "n_tune": 60, "rivals": some(WIDE), "shifts": False}
    assert identify(seen, **options) is identify(seen, **options)
    assert identify(seen, **options) is not identify(seen, **(options | {"n_prompts": 61}))


# What is reported.


def test_the_model_is_claimed_first_and_then_every_layer_with_interval_and_floor(newton_3, one_step):
    model, output = newton_3.claims
    assert (model.id, output.id) == ("identification.model", "identification.output")
    assert output.verdict == "Newton" and output.text.startswith("The output is explained to 1.0000 by Newton k=3")
    for claim in (model, output):
        assert claim.ci is not None and claim.value is not None and claim.null is not None
        assert claim.ci[0] <= claim.value <= claim.ci[1] and claim.null < claim.value
    assert "k = 3 [3, 3]" in model.text
    assert newton_3.headlines == (model,)
    assert [claim.id for claim in one_step.claims] == [
        "identification.model",
        "identification.output",
        "identification.layer_1",
        "identification.input",
    ]


def test_the_floor_holds_untrained_twins_and_shuffled_prompts(newton_3, one_step):
    assert newton_3.output.untrained is None  # a learner has no twin
    assert 0 <= newton_3.output.shuffled == newton_3.output.floor < 0.5
    output = one_step.output
    assert output.untrained is not None and output.floor == max(0, output.shuffled, output.untrained)
    assert output.evidence.untrained_skill is not None


def test_numbers_are_json_and_complete(newton_3, one_step):
    for result in (newton_3, one_step):
        json.dumps(result.to_json(), allow_nan=False)
        data = result.data()
        assert data["verdict"] == result.verdict and data["scorecard"] is None
        assert [layer["label"] for layer in data["layers"]] == [layer.label for layer in result.layers]
        families = {match["family"] for match in data["layers"][-1]["matches"]}
        assert families == set(FEW)


def test_figures_are_drawn_for_what_is_there(newton_3, one_step):
    assert [figure.id for figure in newton_3.figures()] == ["identification-unexplained", "identification-confusion"]
    assert "identification-unexplained" in [figure.id for figure in one_step.figures()]
    alone = quick(Newton(3), rivals=some(WIDE, "Newton"))
    assert [figure.id for figure in alone.figures()] == ["identification-unexplained"]
    for figure in (*newton_3.figures(), *one_step.figures()):
        assert figure.guide.endswith(".") and figure.plot.data


def test_how_many_prompts_it_takes_is_said_before_scoring():
    said = []
    order: list[str] = []

    def predict(prompts):
        if len(prompts) != N_LEAK:
            order.append(f"predicts {len(prompts)}")
        return Newton(3).predict(prompts)

    def on_plan(plan):
        said.append(plan)
        order.append("plan")

    result = quick(Made(predict), on_plan=on_plan)
    assert said == [result.discrimination]
    assert order[:2] == ["predicts 80", "plan"] and "plan" not in order[2:]


@pytest.mark.parametrize("n_prompts, warned", [(40, True), (5000, False)])
def test_too_few_prompts_to_tell_rivals_apart_warn(newton_3, n_prompts, warned):
    hardest = newton_3.discrimination.hardest
    assert hardest is not None
    hard = replace(newton_3.discrimination, separations=(replace(hardest, n_prompts=1000),))
    warnings = replace(newton_3, n_prompts=n_prompts, discrimination=hard).warnings
    assert bool(warnings) is warned
    if warned:
        assert "With 40 prompts some rivals cannot be told apart" in warnings[0] and "1,000 prompts" in warnings[0]


def test_a_task_that_is_not_linear_in_x_says_that_its_learners_are_not_listed():
    task = ReluNetwork(n_dims=3, n_points=8)
    result = quick(LeastSquares(), task, rivals=some(task, "least squares", "ridge", "averaging"), n_prompts=60)
    assert "not linear in x" in result.warnings[0]
    assert not any("not linear" in warning for warning in quick(LeastSquares(), n_prompts=60).warnings)


# A model that implements a learner, and one that only matches it.


@pytest.mark.parametrize("shifts", [True, False])
def test_only_what_survives_the_shifts_is_implemented(shifts):
    result = quick(Newton(3), shifts=shifts)
    assert (result.scorecard is not None) is shifts
    assert result.summary == ("implements Newton" if shifts else "Newton")
    assert result.claims[0].verdict == result.summary
    assert ("identification-scorecard" in [figure.id for figure in result.figures()]) is shifts


def test_what_is_not_named_is_not_shifted():
    assert quick(Made(lambda p: -LeastSquares().predict(p)), shifts=True).scorecard is None


# What a user can do.


@pytest.mark.parametrize("analysis", [identify, fit_readouts])
def test_what_compares_real_numbers_refuses_a_task_of_tokens_in_one_line(analysis):
    cfg = RegressorConfig(n_dims=6, n_points=12, n_layers=1, n_heads=2, d_model=8, d_out=6, layout="sequence")
    task = RepeatedSequence(n_dims=6, n_points=12, period=5)
    with pytest.raises(MesascopeError, match="^repeated_sequence is no regression task; [^\n]*$"):
        analysis(attach(HookedRegressor(cfg), task=task))


def test_a_bare_predictor_of_tokens_is_refused_before_it_predicts():
    with pytest.raises(MesascopeError, match="repeated_sequence is no regression task"):
        identify(attach(Made(lambda prompts: None), task=RepeatedSequence()))


def test_prompts_of_one_point_are_too_short():
    with pytest.raises(MesascopeError, match="reads no point after the first of n_points=1; use longer prompts"):
        quick(LeastSquares(), LinearRegression(n_dims=2, n_points=1))


def test_prompts_of_two_points_are_enough_to_be_judged():
    task = LinearRegression(n_dims=2, n_points=2)
    result = quick(LeastSquares(), task)
    assert "least squares" in result.verdict or result.verdict == "no algorithm"


def test_a_singular_spectrum_is_no_trouble():
    task = LinearRegression(n_dims=3, n_points=9, inputs=Gaussian(spectrum=Geometric(kappa=1e12)))
    result = quick(LeastSquares(), task)
    assert math.isfinite(result.output.evidence.ceiling.value)


def test_a_task_of_another_dimension_is_refused():
    with pytest.raises(MesascopeError, match="task has n_dims=5 but the model has n_dims=3"):
        quick(decoder(), WIDE)


@pytest.mark.parametrize("name", ["n_prompts", "n_tune"])
def test_too_few_prompts_are_refused(name):
    def options(n: int) -> dict[str, Any]:
        return {name: n}

    with pytest.raises(MesascopeError, match=f"{name}=39: expected at least 40"):
        quick(LeastSquares(), **options(39))
    assert quick(LeastSquares(), ISOTROPIC, **options(40))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_an_untrained_decoder_gets_no_algorithm_at_any_layer(seed):
    task = LinearRegression(n_dims=3, n_points=8)
    result = quick(decoder(seed, n_layers=1), task, n_prompts=100, n_tune=60)
    assert [layer.label for layer in result.layers] == ["input", "layer 1", "final norm", "output"]
    assert all(layer.verdict.text == "no algorithm" for layer in result.layers)


class Leaking:
    """It returns the answer."""

    def predict(self, prompts: Prompts) -> torch.Tensor:
        return prompts.ys.clone()


def test_a_predictor_that_sees_the_answer_is_refused_in_one_line():
    with pytest.raises(MesascopeError, match="^<.*Leaking.*> predicts y at point [^\n]* from the y of point [^\n]*$"):
        quick(Leaking())


def test_no_rivals_are_refused():
    with pytest.raises(MesascopeError, match="^identify got no rivals; [^\n]*$"):
        identify(attach(LeastSquares(), task=WIDE), rivals=[])
