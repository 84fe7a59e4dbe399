import json
from functools import partial

import jaxtyping
import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses import scope as scope_module
from mesascope.analyses.causality import trace_causes
from mesascope.analyses.causality.cause import IN_USE
from mesascope.analyses.claim import finite
from mesascope.models import (
    HookedRegressor,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    RegressorConfig,
    Sine,
    SparseLinearRegression,
    descend_on_weights,
)
from mesascope.models.inputs import Gaussian
from tests.analyses.causality.planted import FEW, holds_inverse, holds_residuals, holds_w
from tests.models.families import FAMILIES, task_of


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Two untrained twins, the fewest that have an interval, and shapes executed in `test_shapes.py` alone."""
    jaxtyping.config.update("jaxtyping_disable", True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scope_module, "N_TWINS", 2)
        yield
    jaxtyping.config.update("jaxtyping_disable", False)


def traced(planted):
    scope, learner = planted
    return trace_causes(scope, learner=learner, **FEW)


@pytest.fixture(scope="module")
def with_w(quick):
    return traced(holds_w())


def slopes(causes):
    return [None if cause.slope is None else cause.slope.value for cause in causes]


def test_w_is_used_where_the_construction_has_it_and_nowhere_else(with_w):
    """Behind layer 4 the last step is done and the query reads w; behind layer 5 nobody reads it."""
    verdicts = [cause.verdict for cause in with_w.of("w")]
    assert verdicts[3] == "used"
    assert "used" not in verdicts[:3] + verdicts[4:]
    assert slopes(with_w.of("w"))[3:] == pytest.approx([1.0, 0.0], abs=1e-6)


def test_before_the_first_step_w_is_not_told_apart_from_b(with_w):
    """It can be read, R² .9, for b is nearly nw; but what is read is a map of b."""
    first = with_w.of("w")[0]
    assert first.r2.value > 0.8
    assert (first.verdict, first.slope) == ("not told apart", None)
    assert "b" in first.held


@pytest.mark.parametrize("variable", ["b", "S"])
def test_b_and_s_are_used_until_the_last_step_and_not_behind_it(with_w, variable):
    found = slopes(with_w.of(variable))
    assert found[:2] == pytest.approx([1.0, 1.0], abs=1e-3)
    assert found[1] > found[2] > 0.1  # what the second step's w holds of it is held
    assert found[3:] == pytest.approx([0.0, 0.0], abs=1e-3)


def test_where_w_is_used_the_prediction_also_leaves_the_bases_own(with_w):
    assert with_w.of("w")[3].away.value == pytest.approx(1.0, abs=1e-6)


def test_everything_passes_through_the_scratch_tokens_until_the_query_reads_them(with_w):
    ceilings = [cause.slopes["ceiling"].value for cause in with_w.of("w")]
    assert ceilings == pytest.approx([1, 1, 1, 1, 0], abs=1e-6)


def test_the_placebo_moves_nothing_towards_the_source(with_w):
    """It leaves what is read of w, and towards the source everything else moves: S, b and the gradients."""
    assert abs(with_w.of("w")[3].slopes["placebo"].value) < 0.05
    assert with_w.of("w")[3].slope.low > with_w.of("w")[3].null


def test_a_placebo_can_fail_where_something_that_is_not_read_is_used(with_w):
    """Behind the last step w is used and b is not: beside b, a move towards the source carries its w over."""
    assert with_w.of("b")[3].slopes["placebo"].low > 0.5
    assert slopes(with_w.of("b"))[3] == pytest.approx(0.0, abs=1e-3)


def test_in_tokens_of_examples_w_is_not_decodable_and_y_is_used():
    """And y is what three steps predict, not the label."""
    result = traced(holds_residuals())
    assert result.of("y")[-1].r2.value == pytest.approx(1.0, abs=1e-9)
    assert slopes(result.of("y"))[-1] == pytest.approx(1.0, abs=1e-6)
    assert {cause.verdict for cause in result.of("w")} == {"not decodable"}
    assert {cause.verdict for cause in result.of("w", "query")} == {"not decodable"}
    assert result.of("y")[-1].verdict == "used"
    assert result.claims[0].verdict == "w not decodable"


def test_newtons_method_uses_b_until_it_is_read_and_never_a_w():
    result = traced(holds_inverse())
    assert slopes(result.of("b")) == pytest.approx([1, 1, 1, 0], abs=0.05)
    assert result.of("b")[2].verdict == "used"
    assert "used" not in {cause.verdict for cause in result.of("w")}


@pytest.mark.parametrize("name", ["decoder", "lsa", "separate"])
def test_an_untrained_model_uses_nothing(name):
    cfg = FAMILIES[name]
    result = trace_causes(attach(HookedRegressor(cfg), task=task_of(cfg)), n_prompts=160, n_pairs=40)
    assert not set(IN_USE) & {cause.verdict for cause in result.causes}


def test_an_untrained_lstm_uses_nothing_and_says_that_it_has_no_components():
    cfg = FAMILIES["lstm"]
    result = trace_causes(attach(HookedRegressor(cfg), task=task_of(cfg)), n_prompts=160, n_pairs=40)
    assert not set(IN_USE) & {cause.verdict for cause in result.causes}
    assert result.effects is None
    assert "neither heads nor MLPs" in result.warnings[0]
    assert [figure.id for figure in result.figures()] == ["causality-slope", "causality-pairs"]
    assert result.data()["effects"] is None


def test_twins_that_leave_all_numbers_are_said_to():
    """Random linear attention, six layers deep: what a token holds is cubed by each."""
    model = descend_on_weights(3, 16, [0.01] * 4)
    wide = LinearRegression(n_dims=3, n_points=16, inputs=Gaussian(scale=30.0))
    result = trace_causes(attach(model, task=wide), n_prompts=160, n_pairs=40)
    assert result.n_lost == result.n_twins == 2
    assert "2 of 2 untrained twins leave all numbers" in result.warnings[0]


def test_a_task_without_w_is_traced_by_its_prediction():
    cfg = FAMILIES["sine"]
    result = trace_causes(attach(HookedRegressor(cfg), task=task_of(cfg)), n_prompts=160, n_pairs=40)
    assert {cause.variable for cause in result.causes} == {"y"}
    assert result.claims[0].verdict.startswith("y ")


def test_claims_have_an_interval_a_null_and_a_name_of_their_own(with_w):
    ids = [claim.id for claim in with_w.claims]
    assert len(set(ids)) == len(ids)
    assert ids[:3] == ["causality.model", "causality.direct", "causality.ablation"]
    assert {"causality.w.layer4", "causality.w-at-query.layer4", "causality.y.layer1", "causality.S.layer5"} <= set(ids)
    (claim,) = (claim for claim in with_w.claims if claim.id == "causality.w.layer4")
    low, high = claim.ci
    assert low <= claim.value <= high and claim.null is not None and claim.verdict == "used"
    assert with_w.claims[0].verdict == "w used"
    assert "w is used (scratch tokens, layer 4)" in with_w.claims[0].text


def test_it_is_json(with_w):
    data = json.loads(json.dumps(finite(with_w.to_json()), allow_nan=False))
    assert len(data["data"]["causes"]) == 6 * 5
    assert data["data"]["learner"].startswith("scheduled GD")


def test_it_is_measured_once_and_depends_on_the_seed_alone():
    cfg, measure = FAMILIES["sine"], partial(trace_causes, n_prompts=160, n_pairs=40)
    scope, again = (attach(HookedRegressor(cfg), task=task_of(cfg)) for _ in range(2))
    first = measure(scope)
    assert measure(scope) is first
    assert [cause.data() for cause in measure(again).causes] == [cause.data() for cause in first.causes]
    other = measure(scope, seed=7)
    assert other.seed == 7 and other.causes[-1].r2 != first.causes[-1].r2


def test_the_learner_says_whose_w_is_meant(with_w):
    """After three steps w is not yet that of least squares, and what is read of that moves the prediction less."""
    scope, _ = holds_w()
    other = trace_causes(scope, learner=LeastSquares(), **FEW).of("w")[3].slope
    assert other is not None and other.high < 1.0 == pytest.approx(slopes(with_w.of("w"))[3], abs=1e-6)


def test_under_noise_the_variables_are_those_of_the_best_learner():
    """Ridge; and a model that runs its steps holds what they predict to the last digit, however noisy labels are."""
    scope, learner = holds_residuals()
    noisy = attach(scope.hooked, task=LinearRegression(n_dims=3, n_points=16, noise_std=1.0))
    result = trace_causes(noisy, learner=learner, **FEW)
    assert result.of("y")[-1].r2.value == pytest.approx(1.0, abs=1e-9)
    assert trace_causes(noisy, n_prompts=160, n_pairs=40).learner == "ridge r=1"


def test_of_sparse_w_under_noise_ridge_knows_how_large_w_is_and_more_points_are_seen_than_it_has_entries():
    task = SparseLinearRegression(n_dims=8, n_points=20, sparsity=2, noise_std=0.5)
    cfg = RegressorConfig(n_dims=8, n_points=20, n_layers=1, n_heads=1, d_model=16, d_mlp=16)
    result = trace_causes(attach(HookedRegressor(cfg), task=task), n_prompts=160, n_pairs=40)
    assert (result.learner, result.point) == ("ridge r=1", 11)


def test_where_y_is_the_label_no_learner_is_named():
    scope = attach(HookedRegressor(FAMILIES["sine"]), task=task_of(FAMILIES["sine"]))
    assert trace_causes(scope, n_prompts=160, n_pairs=40).learner == "the labels"
    with pytest.raises(MesascopeError, match="learner=least squares: sine is not linear in x"):
        trace_causes(scope, learner=LeastSquares())


def constant_model():
    """Its read-out reads nothing and adds a number."""
    model = HookedRegressor(FAMILIES["decoder"])
    with torch.no_grad():
        for parameter, value in zip(model.unembed.parameters(), (0.0, 0.3), strict=True):
            parameter.fill_(value)
    return attach(model, task=task_of(FAMILIES["decoder"]))


def test_of_a_constant_model_nothing_is_written_and_no_number_is_made_up():
    result = trace_causes(constant_model(), n_prompts=160, n_pairs=40)
    claims = {claim.id: claim for claim in result.claims}
    assert claims["causality.direct"].verdict == "the prediction is constant"
    assert claims["causality.direct"].value is None
    assert not any("nan" in claim.text for claim in result.claims)
    assert not set(IN_USE) & {cause.verdict for cause in result.causes}
    components = next(figure for figure in result.figures() if figure.id == "causality-components")
    assert {trace.type for trace in components.plot.data} == {"scatter"}


def test_of_one_twin_nothing_is_known(monkeypatch):
    monkeypatch.setattr(scope_module, "N_TWINS", 1)
    result = traced(holds_residuals())
    assert {(cause.untrained, cause.untrained_r2) for cause in result.causes} == {(None, None)}
    assert "untrained twins not measured" in result.claims[-1].text
    assert result.data()["causes"][0]["untrained"] is None
    assert result.figures()


def test_figures_hold_every_series_and_each_has_a_guide(with_w):
    figures = {figure.id: figure for figure in with_w.figures()}
    assert list(figures) == [
        "causality-slope",
        "causality-pairs",
        "causality-components",
        *(f"causality-dependence-{variable}" for variable in "ywbS"),
    ]
    names = {trace.name for trace in figures["causality-slope"].plot.data}
    assert names == {"interchange", "all of the site", "placebo", "another readout", "untrained twins"}
    assert all(len(figure.guide) > 200 for figure in figures.values())
    y = figures["causality-dependence-w"].plot.data[0].z
    assert y[-1][3] == pytest.approx(1.0, abs=1e-3)  # the whole model's row is on top


def test_pairs_lie_on_the_diagonal_where_w_is_used(with_w):
    predicted, found = torch.tensor(with_w.of("w")[3].pairs).T
    torch.testing.assert_close(predicted, found, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "scope, given, complaint",
    [
        (lambda: attach(LeastSquares()), {}, "has no layers to probe"),
        (lambda: holds_w()[0], {"n_pairs": 39}, "n_pairs=39: readouts need at least 160 prompts, and intervals 40"),
        (lambda: holds_w()[0], {"n_prompts": 159}, "n_prompts=159"),
        (
            lambda: attach(HookedRegressor(FAMILIES["lsa"]), task=LinearRegression(n_dims=3, n_points=3)),
            {},
            "predicts with at most 2 points before, which do not determine w in n_dims=3",
        ),
        (
            lambda: attach(HookedRegressor(FAMILIES["induction"]), task=task_of(FAMILIES["induction"])),
            {},
            "is no regression task",
        ),
    ],
    ids=["predictor", "pairs", "prompts", "no w", "discrete"],
)
def test_bad_input_is_refused_in_one_line(scope, given, complaint):
    with pytest.raises(MesascopeError, match=complaint) as caught:
        trace_causes(scope(), **given)
    assert "\n" not in str(caught.value)


def test_a_model_whose_activations_leave_all_numbers_is_refused():
    cfg = RegressorConfig.linear_self_attention(n_dims=3, n_points=6, n_layers=2)
    model = HookedRegressor(cfg)
    with torch.no_grad():
        model.attentions[0].qkv_weight.fill_(1e30)
    with pytest.raises(MesascopeError, match="grow beyond all numbers"):
        trace_causes(attach(model), n_prompts=160, n_pairs=40)


def test_a_sine_needs_no_more_points_than_one():
    cfg = FAMILIES["sine"].model_copy(update={"n_points": 2})
    result = trace_causes(attach(HookedRegressor(cfg), task=Sine(n_points=2)), n_prompts=160, n_pairs=40)
    assert result.point == 1
