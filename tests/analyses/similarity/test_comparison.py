import numpy as np
import pytest

from mesascope.analyses import attach
from mesascope.models import GradientDescent, IterativeLearner, NearestNeighbours, Newton, Ridge
from mesascope.probes import similarity_of_errors

from ..conftest import STEP_TASK, WIDE
from .conftest import FEW, STEPS, Mean, match_of, quick


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


def test_an_untrained_model_is_no_more_than_its_floor(layered):
    assert [layer.label for layer in layered.errors.layers] == ["input", "layer 1", "layer 2", "final norm", "output"]
    for found in layered.comparisons:
        for layer in found.layers:
            assert layer.best.untrained is not None
            assert layer.best.verdict != "above its floor"
    assert all(course.depths == () and course.growth("linear") is None for course in layered.errors.courses)


def test_a_construction_errs_like_the_step_it_takes(predicts_y):
    # It reads one point, so prompts are compared in units of twenty.
    result = quick(predicts_y, STEP_TASK, n_prompts=800, rivals=STEPS)
    assert result.unit == 20 and result.prefixes == (8,)
    for found in result.comparisons:
        assert found.output.best.learner == GradientDescent(1, 1.0)
        assert found.output.best.similarity.value == pytest.approx(1, abs=1e-6)
        assert found.output.best.verdict == "above its floor"
