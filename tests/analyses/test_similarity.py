import json

import numpy as np
import pytest
import torch

from mesascope.analyses import attach, similarity
from mesascope.analyses.similarity import Course, Match, Similarity, calibrate, choose_rivals, measure_similarity
from mesascope.models import (
    GradientDescent,
    HookedRegressor,
    IterativeLearner,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    NearestNeighbours,
    Newton,
    OnlineGradientDescent,
    Prompts,
    QuadraticRegression,
    Regression,
    RegressorConfig,
    RepeatedSequence,
    Ridge,
    SparseLinearRegression,
)
from mesascope.models.learners.base import Learner, Sweep
from mesascope.probes import Estimate, prediction_interval, similarity_of_errors
from mesascope.probes.similarity import similarity_of_weights

from .conftest import STEP_TASK, WIDE, decoder

SWAPPED = [i ^ 1 for i in range(80)]
VERDICTS = {"above its floor", "no more than its floor", "undetermined"}
FEW = (
    Sweep(Newton(8), tuple(range(1, 9))),
    Sweep(GradientDescent(64, 0.1), (1, 4, 16, 64)),
    Sweep(GradientDescent(64, 0.01), (1, 4, 16, 64)),
    Sweep(Ridge(0.5)),
    Sweep(LeastSquares()),
    Sweep(NearestNeighbours(2)),
)
"""Rivals that are quick to compute."""


class Zero:
    def predict(self, prompts: Prompts) -> torch.Tensor:
        return torch.zeros_like(prompts.ys)


class Mean:
    """Between two learners; no family's member."""

    def predict(self, prompts: Prompts) -> torch.Tensor:
        return (Newton(3).predict(prompts) + LeastSquares().predict(prompts)) / 2


def quick(target: object, task: LinearRegression = WIDE, **options: object) -> Similarity:
    settings: dict[str, object] = {"n_prompts": 80, "n_fit": 400, "rivals": FEW} | options
    return measure_similarity(attach(target, task=task), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def newton_3() -> Similarity:
    return quick(Newton(3))


@pytest.fixture(scope="module")
def layered() -> Similarity:
    return quick(decoder(), LinearRegression(n_dims=3, n_points=8))


def match_of(result: Similarity, family: str, by: str = "errors") -> Match:
    found = next(found for found in result.comparisons if found.by == by)
    return next(match for match in found.output.matches if match.family == family)


@pytest.mark.parametrize("empty_prefix", [False, True])
@pytest.mark.parametrize(
    "learner",
    [Newton(1), Newton(5), GradientDescent(16, 0.1), GradientDescent(4, 0.01), Ridge(0.5), NearestNeighbours(2)],
    ids=lambda learner: learner.label,
)
def test_a_planted_learner_scores_one_at_its_own_steps(learner, empty_prefix):
    result = quick(learner, empty_prefix=empty_prefix)
    for found in result.comparisons:
        if found.by == "weights" and isinstance(learner, NearestNeighbours):
            continue
        best = found.output.best
        assert best.learner == learner and best.similarity.value == pytest.approx(1, abs=1e-9)
        assert best.verdict == "above its floor"
        for course in found.courses:
            if isinstance(learner, IterativeLearner) and isinstance(learner, type(course.sweep.learner)):
                assert course.best_steps == (learner.n_steps,)


@pytest.mark.parametrize("empty_prefix", [False, True])
def test_similarity_of_errors_is_the_mean_cosine_on_the_scored_prompts(empty_prefix):
    result = quick(Mean(), empty_prefix=empty_prefix)
    prompts = attach(Mean(), task=WIDE).prompts(80, "similarity")
    first = 0 if empty_prefix else 1
    errors = (Mean().predict(prompts) - prompts.ys)[:, first:]
    neighbours = Mean().predict(prompts)[SWAPPED]
    for match in result.errors.output.matches:
        theirs = (match.learner.predict(prompts) - prompts.ys)[:, first:]
        cosine = torch.nn.functional.cosine_similarity
        for ours, found in [
            (errors, match.similarity.value),
            (-prompts.ys[:, first:], match.zero),
            ((neighbours - prompts.ys)[:, first:], match.shuffled),
        ]:
            assert found == pytest.approx(cosine(ours, theirs, dim=-1).mean().item(), abs=1e-9)
    assert result.empty_prefix is empty_prefix and len(result.convergence.points) == 20 - first


def test_similarity_of_weights_is_the_mean_cosine_over_prefixes():
    result = quick(Mean(), n_prompts=800)
    assert result.weights is not None and result.prefixes == (2, 5, 10, 19)
    assert (result.weights.n_prompts, result.weights.n_tune) == (80, 40)
    prompts = attach(Mean(), task=WIDE).prompts(80, "similarity")
    held = (Newton(3).weights(prompts) + LeastSquares().weights(prompts)) / 2
    kept = list(result.prefixes)
    for match in result.weights.output.matches:
        assert isinstance(match.learner, IterativeLearner)
        theirs = match.learner.weights(prompts)[:, kept]
        cosines = similarity_of_weights(held[:, kept], theirs)
        assert match.similarity.value == pytest.approx(cosines.mean().item(), abs=1e-9)
        assert result.weights.by_part[match.family] == pytest.approx(cosines.mean(0).tolist(), abs=1e-9)
        shuffled = similarity_of_weights(held[SWAPPED][:, kept], theirs)
        assert match.shuffled == pytest.approx(shuffled.mean().item(), abs=1e-9)
        assert match.zero == 0 and abs(match.shuffled) < 0.2
    assert "nearest neighbours" not in result.weights.by_part


def test_matches_are_the_best_on_prompts_that_are_not_scored():
    result = quick(Mean())
    prompts = attach(Mean(), task=WIDE).prompts(result.errors.n_tune, "similarity tune")
    preds, ys = Mean().predict(prompts)[:, 1:], prompts.ys[:, 1:]
    for match in result.errors.output.matches:
        members = [member for sweep in FEW for member in sweep.members() if member.family == match.family]
        scores = [similarity_of_errors(preds, m.predict(prompts)[:, 1:], ys).mean().item() for m in members]
        assert match.learner == members[int(np.argmax(scores))]
        for course in result.errors.courses:
            if course.family == match.family:
                among = scores[members.index(course.sweep.learner) + 1 - len(course.sweep.steps) :]
                expected = among[: len(course.sweep.steps)]
                assert course.similarities[0] == pytest.approx(expected, abs=1e-9)
                assert max(course.similarities[0]) == pytest.approx(max(scores))  # the sweep with the best match


def test_families_are_sorted_by_their_similarity(newton_3):
    for found in newton_3.comparisons:
        values = [match.similarity.value for match in found.output.matches]
        assert values == sorted(values, reverse=True)
        assert all(
            match.similarity.low <= value <= match.similarity.high <= 1
            for match, value in zip(found.output.matches, values, strict=True)
        )


def test_predicting_zero_is_no_more_than_its_floor():
    result = quick(Zero())
    best = result.errors.output.best
    assert best.similarity.value == pytest.approx(best.zero, abs=1e-12)
    assert best.verdict == "no more than its floor"
    assert result.weights is not None
    assert all(match.similarity.value == 0 == match.floor for match in result.weights.output.matches)


def test_the_ceiling_is_each_match_through_the_same_pipeline(newton_3):
    for found in newton_3.comparisons:
        families = [match.family for match in found.output.matches]
        assert len(found.ceiling) == len(families)
        for row, family in enumerate(families):
            assert found.ceiling[row][row] == pytest.approx(1, abs=1e-9)
            planted = quick(match_of(newton_3, family, found.by).learner)
            for column, other in enumerate(families):
                expected = match_of(planted, other, found.by).similarity.value
                assert found.ceiling[row][column] == pytest.approx(expected, abs=1e-9)


HIGH = Estimate(0.9, 0.88, 0.92)


@pytest.mark.parametrize(
    "lead, twins, verdict, floor",
    [
        (Estimate(0.4, 0.3, 0.5), None, "above its floor", 0.5),
        (Estimate(0.4, 0.3, 0.5), Estimate(0.6, 0.5, 0.7), "above its floor", 0.7),
        (Estimate(0.4, 0.3, 0.5), Estimate(0.6, 0.3, 0.9), "undetermined", 0.9),
        (Estimate(0.4, 0.3, 0.5), Estimate(0.9, 0.7, 1.1), "no more than its floor", 1.0),
        (Estimate(0.0, 0.0, 0.0), None, "no more than its floor", 0.5),
        (Estimate(-0.1, -0.2, -0.05), Estimate(0.6, 0.5, 0.7), "no more than its floor", 0.7),
        (Estimate(0.1, -0.1, 0.3), Estimate(0.6, 0.5, 0.7), "undetermined", 0.7),
    ],
)
def test_verdicts_ask_whether_every_floor_is_cleared(lead, twins, verdict, floor):
    match = Match("ridge", Ridge(1.0), HIGH, zero=0.5, shuffled=0.1, lead=lead, untrained=twins)
    assert match.verdict == verdict and match.floor == floor


def test_the_lead_is_over_the_higher_floor_prompt_by_prompt(newton_3):
    for found in newton_3.comparisons:
        for match in found.output.matches:
            assert match.lead.value == pytest.approx(match.similarity.value - match.floor, abs=1e-12)
            assert match.lead.low <= match.lead.value <= match.lead.high


def test_an_untrained_model_is_no_more_than_its_floor(layered):
    assert [layer.label for layer in layered.errors.layers] == ["input", "layer 1", "layer 2", "final norm", "output"]
    for found in layered.comparisons:
        for layer in found.layers:
            assert layer.best.untrained is not None
            assert layer.best.verdict != "above its floor"
    assert all(course.depths == () and course.growth("linear") is None for course in layered.errors.courses)


def test_the_floor_of_the_twins_is_their_own_similarity():
    task = LinearRegression(n_dims=3, n_points=8)
    scope = attach(decoder(), task=task)
    result = measure_similarity(scope, n_prompts=160, n_fit=400, rivals=FEW)
    prompts = scope.prompts(40, "similarity")
    for match in result.errors.output.matches:
        theirs = match.learner.predict(prompts)[:, 1:]
        each = [
            similarity_of_errors(twin.predict(prompts)[:, 1:], theirs, prompts.ys[:, 1:].double()).mean()
            for twin in scope.untrained
        ]
        expected = prediction_interval(torch.stack(each))
        assert match.untrained is not None
        assert (match.untrained.value, *match.untrained.ci) == pytest.approx((expected.value, *expected.ci), abs=1e-6)


STEPS = (Sweep(GradientDescent(2, 1.0), (1, 2)), Sweep(LeastSquares()))


def test_a_construction_errs_like_the_step_it_takes(predicts_y):
    # It reads one point, so prompts are compared in units of twenty.
    result = quick(predicts_y, STEP_TASK, n_prompts=800, rivals=STEPS)
    assert result.unit == 20 and result.prefixes == (8,)
    for found in result.comparisons:
        assert found.output.best.learner == GradientDescent(1, 1.0)
        assert found.output.best.similarity.value == pytest.approx(1, abs=1e-6)
        assert found.output.best.verdict == "above its floor"


class Recorded(Learner):
    """Least squares that notes how many prompts it sees at a time."""

    family = "recorded"
    label = "recorded"

    def __init__(self):
        self.sizes: list[int] = []

    def predict(self, prompts: Prompts) -> torch.Tensor:
        self.sizes.append(len(prompts))
        return LeastSquares().predict(prompts)


@pytest.mark.parametrize("n_prompts", [100, 300])
def test_however_many_prompts_there_are_members_see_a_batch_of_them(monkeypatch, n_prompts):
    whole = quick(Mean(), n_prompts=n_prompts)
    monkeypatch.setattr(similarity, "BATCH", 17)  # not even; prompts come in pairs
    recorded = Recorded()
    streamed = quick(Mean(), n_prompts=n_prompts, rivals=(*FEW, Sweep(recorded)))
    assert max(recorded.sizes) == 16
    for match in whole.errors.output.matches:
        again = match_of(streamed, match.family)
        assert again.learner == match.learner
        assert (again.similarity.value, *again.similarity.ci, again.shuffled) == pytest.approx(
            (match.similarity.value, *match.similarity.ci, match.shuffled), abs=1e-12
        )
    assert streamed.convergence.null == pytest.approx(whole.convergence.null)


def test_convergence_is_the_mean_squared_error(newton_3):
    prompts = attach(Newton(3), task=WIDE).prompts(newton_3.errors.n_tune, "similarity tune")
    found = newton_3.convergence
    null = prompts.ys[:, 1:].square().mean(0)
    ours = (Newton(3).predict(prompts) - prompts.ys)[:, 1:].square().mean(0)
    assert found.null == pytest.approx(null.tolist())
    assert found.layers["output"] == pytest.approx(ours.tolist())
    assert found.iterates["Newton"][2] == pytest.approx(ours.tolist())
    late = [i for i, t in enumerate(found.points) if t >= WIDE.late]
    assert found.relative(found.layers["output"]) == pytest.approx((ours[late].sum() / null[late].sum()).item())


def course(steps: list[int], counted: tuple[int, ...], grid: tuple[int, ...] = tuple(range(65))) -> Course:
    labels = ("input", *(f"layer {i}" for i in range(1, len(steps))))
    rows = [tuple(float(k == best) for k in grid) for best in steps]
    return Course(Sweep(Newton(64), grid), labels, tuple(rows), counted)


def test_growth_finds_the_line_that_was_planted():
    linear, doubling = course([0, 3, 6, 9, 12], (1, 2, 3, 4)), course([0, 4, 8, 16, 32], (1, 2, 3, 4))
    assert linear.best_steps == (0, 3, 6, 9, 12) and linear.steps_by_depth == (3, 6, 9, 12)
    assert linear.growth("linear") == pytest.approx((3, 0, 1))
    assert doubling.growth("exponential") == pytest.approx((1, 1, 1))
    assert (linear.growth("exponential") or [1, 1, 1])[2] < 0.97 and (doubling.growth("linear") or [1, 1, 1])[2] < 0.93
    assert linear.name == "Newton"


@pytest.mark.parametrize(
    "steps, counted, law",
    [([0, 3, 6, 9], (1, 2), "linear"), ([0, 5, 5, 5], (1, 2, 3), "linear"), ([0, 0, 4, 8], (1, 2, 3), "exponential")],
    ids=["two layers", "no growth", "no steps"],
)
def test_growth_of_nothing_is_no_line(steps, counted, law):
    assert course(steps, counted).growth(law) is None


def test_claims_say_what_was_found_and_name_no_algorithm_as_verdict(newton_3, layered):
    assert [claim.id for claim in newton_3.claims] == ["similarity.errors.output", "similarity.weights.output"]
    errors, weights = newton_3.claims
    assert "The output errs most like Newton k=3, with similarity 1.0000; its floor is" in errors.text
    assert "The output holds weights most like those of Newton k=3" in weights.text
    assert errors.value is not None and errors.null is not None and errors.null < errors.value
    assert newton_3.headlines == (errors,)
    stages = ["output", "final_norm", "layer_2", "layer_1", "input"]
    assert [claim.id for claim in layered.claims] == [
        f"similarity.{by}.{s}" for by in ("errors", "weights") for s in stages
    ]
    assert {claim.verdict for claim in (*newton_3.claims, *layered.claims)} <= VERDICTS


def test_a_single_output_has_no_course_over_layers_to_draw(newton_3):
    assert [figure.id for figure in newton_3.figures()] == [
        "similarity-errors",
        "similarity-errors-ceiling",
        "similarity-errors-heat",
        "similarity-weights",
        "similarity-weights-ceiling",
        "similarity-weights-heat",
        "similarity-weights-prefixes",
    ]


def test_a_model_with_layers_is_drawn_over_them(garg):
    result = measure_similarity(garg, n_prompts=40, n_fit=400, rivals=FEW)
    figures = {figure.id: figure for figure in result.figures()}
    assert list(figures) == [
        f"similarity-{by}{figure}"
        for by in ("errors", "weights")
        for figure in ("", "-ceiling", "-layers", "-heat", "-steps")
    ] + ["similarity-weights-prefixes", "similarity-convergence", "similarity-convergence-points"]
    heat = figures["similarity-errors-heat"].plot
    maps = [trace for trace in heat.data if trace.type == "heatmap"]
    assert len(maps) == 2  # Newton and GD
    assert all(len(trace.x) == len(trace.z[0]) + 1 and len(trace.z) == len(result.errors.layers) for trace in maps)
    assert list(maps[1].x[:2] if result.errors.courses[1].family == "GD" else maps[0].x[:2]) == [-1.0, 1.0]
    stars = [trace for trace in heat.data if trace.type == "scatter"]
    for trace, found in zip(stars, result.errors.courses, strict=True):
        assert trace.text == tuple(map(str, found.best_steps))
    fits = [trace for trace in figures["similarity-errors-steps"].plot.data if trace.mode == "lines"]
    assert {trace.name for trace in fits} == {"linear growth", "exponential growth"}
    for figure in figures.values():
        assert figure.title and figure.guide and len(figure.plot.data) > 0


def test_a_model_of_one_layer_that_reads_one_point_is_drawn_without_lines(predicts_y):
    result = quick(predicts_y, STEP_TASK, n_prompts=800, rivals=STEPS)
    figures = {figure.id: figure for figure in result.figures()}
    assert {"similarity-errors-layers", "similarity-errors-steps", "similarity-convergence"} <= set(figures)
    assert not {"similarity-weights-prefixes", "similarity-convergence-points"} & set(figures)
    assert {trace.mode for trace in figures["similarity-errors-steps"].plot.data} == {"markers"}


def test_every_score_says_what_it_cannot_do(newton_3):
    figures = {figure.id: figure for figure in newton_3.figures()}
    for by in ("errors", "weights"):
        for name in ("", "-heat"):
            assert "It cannot name the algorithm" in figures[f"similarity-{by}{name}"].guide
    assert "without the empty prefix" in figures["similarity-errors"].guide
    with_it = quick(Newton(3), empty_prefix=True).figures()[0]
    assert "with the empty prefix" in with_it.guide


def test_the_numbers_are_json(layered):
    content = json.loads(json.dumps(layered.to_json(), allow_nan=False))
    data = content["data"]
    assert data["errors"]["layers"][-1]["label"] == "output"
    assert data["errors"]["courses"]["Newton"]["steps"] == list(range(1, 9))
    assert data["errors"]["courses"]["Newton"]["r2"] == {"linear": None, "exponential": None}
    assert data["weights"]["layers"][0]["matches"][0]["untrained"]["value"] < 0.5
    assert len(data["convergence"]["iterates"]["GD"]) == 4


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(newton_3):
    assert quick(Newton(3)).data() == newton_3.data()
    other = quick(Newton(3), seed=1)
    assert other.seed == 1 and other.errors.output.best.learner == Newton(3)
    assert match_of(other, "ridge").similarity != match_of(newton_3, "ridge").similarity


def test_a_scope_measures_once():
    scope = attach(Newton(3), task=WIDE)
    first = measure_similarity(scope, n_prompts=80, rivals=FEW)
    assert measure_similarity(scope, n_prompts=80, rivals=FEW) is first
    assert measure_similarity(scope, n_prompts=82, rivals=FEW) is not first


@pytest.mark.parametrize(
    "task",
    [QuadraticRegression(n_dims=3, n_points=9), LinearRegression(n_dims=1, n_points=9)],
    ids=["not linear", "one dimension"],
)
def test_weights_are_not_compared_where_they_mean_nothing(task):
    result = quick(LeastSquares(), task)
    assert result.weights is None and result.linear_task == task.linear
    assert bool(result.warnings) is not task.linear
    assert all("weights" not in figure.id for figure in result.figures())


def test_rivals_without_weights_are_compared_by_errors_alone():
    result = quick(LeastSquares(), rivals=(Sweep(NearestNeighbours(2)),))
    assert result.weights is None
    assert [figure.id for figure in result.figures()] == ["similarity-errors"]


def families(task: Regression, wanted: list[str | Sweep] | None = None) -> set[str]:
    return {sweep.learner.family for sweep in choose_rivals(task, wanted)}


def test_rivals_are_every_family_or_those_that_are_wanted():
    known = families(WIDE)
    assert {"GD", "Newton", "ridge", "least squares", "online GD"} <= known
    assert "lasso" not in known  # prompt by prompt, and not what solves this task
    assert "lasso" in families(SparseLinearRegression(n_dims=5, n_points=9))
    assert families(WIDE, ["newton", "GD"]) == {"Newton", "GD"}
    assert families(WIDE, ["lasso"]) == {"lasso"}
    own = Sweep(OnlineGradientDescent(0.05))
    assert choose_rivals(WIDE, [own, own]) == (own,)
    assert len(choose_rivals(WIDE, ["GD", "GD"])) == len(choose_rivals(WIDE, ["GD"]))


def test_every_family_can_be_a_rival_by_default():
    result = quick(Ridge(1.0), rivals=None)
    assert {match.family for match in result.errors.output.matches} == families(WIDE)
    assert result.errors.output.best.learner.family == "ridge"  # between the penalties of the grid
    assert result.errors.output.best.similarity.value > 0.99


@pytest.mark.parametrize(
    "options, complaint",
    [
        ({"rivals": ["Newtn"]}, "^no rival is called 'Newtn'; did you mean 'Newton'[?]$"),
        ({"rivals": []}, "^rivals=[(][)]: expected a family or a sweep, or None for every family$"),
        ({"n_prompts": 39}, "^n_prompts=39: expected at least 40 to compare on$"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, complaint):
    with pytest.raises(MesascopeError, match=complaint):
        quick(LeastSquares(), **options)


def test_a_model_that_reads_one_point_needs_more_prompts(predicts_y):
    with pytest.raises(MesascopeError, match="n_prompts=799: expected at least 800 to compare on"):
        quick(predicts_y, STEP_TASK, n_prompts=799)


def test_prompts_of_one_point_are_too_short():
    with pytest.raises(MesascopeError, match="reads no point after the first of n_points=1; use longer prompts"):
        quick(LeastSquares(), LinearRegression(n_dims=2, n_points=1))


def test_tokens_are_refused():
    cfg = RegressorConfig(n_dims=6, n_points=12, n_layers=1, n_heads=2, d_model=8, d_out=6, layout="sequence")
    scope = attach(HookedRegressor(cfg), task=RepeatedSequence(n_dims=6, n_points=12, period=5))
    with pytest.raises(MesascopeError, match="repeated_sequence is no regression task"):
        measure_similarity(scope)


def test_a_model_that_predicts_nan_is_refused(predicts_y):
    broken = HookedRegressor(predicts_y.cfg)
    with torch.no_grad():
        broken.attentions[0].W_V.fill_(float("nan"))
    with pytest.raises(MesascopeError, match="predicts NaN or infinity"):
        quick(broken, STEP_TASK, n_prompts=800)


FU = LinearRegression(n_dims=20, n_points=41)
DESCENT = Sweep(GradientDescent(4096, 0.01, "sum"), tuple(2**j for j in range(13)))
PUBLISHED = {
    "newton": (0.920, 0.691, 0.619, 0.569, 0.539, 0.510),
    "gd": (0.961, 0.918, 0.849, 0.764, 0.682, 0.615, 0.568, 0.540, 0.524, 0.516, 0.511, 0.509, 0.508),
}
"""Methods, section 14: of the zero predictor to Newton after 1, 6, 8, 10, 12, 22 steps, and to GD after 2^0 … 2^12."""


def test_the_zero_predictor_is_as_similar_to_learners_as_published():
    zero, newton = Sweep(GradientDescent(0, 0.01), (0,)), Sweep(Newton(22, "twice_frobenius"), (1, 6, 8, 10, 12, 22))
    (found,) = calibrate(FU, [zero], [newton, DESCENT], n_prompts=3_000, empty_prefix=True)
    assert found.tolist() == pytest.approx([*PUBLISHED["newton"], *PUBLISHED["gd"]], abs=0.005)


@pytest.mark.parametrize("empty_prefix", [False, True])
def test_newtons_best_matching_descent_doubles_its_steps_every_other_step(empty_prefix):
    newton = Sweep(Newton(23), tuple(range(1, 24)))
    found = calibrate(FU, [newton], [DESCENT], n_prompts=500, empty_prefix=empty_prefix)
    exponents = [0, 1, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12]
    assert found.argmax(1).tolist() == exponents
    # What the score cannot do: no step of Newton is unlike its best-matching descent.
    assert found.amax(1).min() > 0.98


def test_calibrating_on_too_few_prompts_is_refused():
    with pytest.raises(MesascopeError, match="n_prompts=30: expected at least 40"):
        calibrate(WIDE, FEW[:1], FEW, n_prompts=30)
