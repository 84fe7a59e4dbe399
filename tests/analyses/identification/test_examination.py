import json

import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.identification.examination import Examination, describe_estimate
from mesascope.models import (
    HookedRegressor,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    NearestNeighbours,
    Newton,
    Ridge,
)
from mesascope.models.battery import bounded, rivals
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import LogUniform
from mesascope.probes import Estimate

from ..conftest import STEP_TASK

TASK = LinearRegression(n_dims=3, n_points=9, inputs=Gaussian(spectrum=LogUniform(kappa=30)))
FAMILIES = ("Newton", "ridge", "least squares", "averaging", "nearest neighbours")


def few(task=TASK):
    return [sweep for sweep in rivals(task) if sweep.learner.family in FAMILIES]


@pytest.fixture(scope="module")
def examination():
    return Examination(attach(LeastSquares(), task=TASK), 60, few())


def mix(prompts):
    return 0.5 * LeastSquares().predict(prompts) + 0.5 * NearestNeighbours(1).predict(prompts)


def examined(examination, *predictors, n_prompts=100, calls=None):
    subjects = [examination.enter(f"layer {i}", p(examination.tune)) for i, p in enumerate(predictors)]
    prompts = TASK.sample(n_prompts, seed=0, stream="identify", dtype=torch.float64)

    def feed():
        if calls is not None:
            calls.append(1)
        for batch in prompts.split(40):
            yield batch, [predict(batch) for predict in predictors]

    return examination.examine(subjects, feed, n_prompts)


def test_one_examination_judges_many_predictors(examination):
    found = examined(examination, Newton(3).predict, LeastSquares().predict, lambda p: torch.zeros_like(p.ys))
    assert [f.verdict.text for f in found] == ["Newton", "least squares", "no algorithm"]
    assert [f.label for f in found] == ["layer 0", "layer 1", "layer 2"]
    assert found[0].learner == Newton(3) and found[0].learners["Newton"] == Newton(3)
    assert found[0].strength == {"k": Estimate(3.0, 3.0, 3.0)}


def test_prompts_are_scored_once_more_only_where_mixtures_are_wanted(examination):
    calls: list[int] = []
    examined(examination, Newton(3).predict, calls=calls)
    assert len(calls) == 1
    calls.clear()
    single, mixed = examined(examination, Newton(3).predict, mix, calls=calls)
    assert len(calls) == 2
    assert single.evidence.blends == () and mixed.evidence.blends
    assert mixed.verdict.text.startswith("mixture of ") and set(mixed.verdict.families) == {
        "least squares",
        "nearest neighbours",
    }


def test_a_second_scoring_forgets_the_first(examination):
    mixed = examined(examination, mix)[0]
    prompts = TASK.sample(100, seed=0, stream="identify", dtype=torch.float64)
    preds = bounded(mix(prompts)[:, 1:], prompts, examination.points)
    best = mixed.evidence.matches[0]
    theirs = bounded(mixed.learners[best.family].predict(prompts)[:, 1:], prompts, examination.points)
    assert best.unexplained.value == pytest.approx(((theirs - preds).square().sum() / preds.square().sum()).item())


def test_skill_is_the_mean_cosine_with_y_over_prompts(examination):
    finding = examined(examination, Newton(3).predict)[0]
    prompts = TASK.sample(100, seed=0, stream="identify", dtype=torch.float64)
    preds = bounded(Newton(3).predict(prompts)[:, 1:], prompts, examination.points)
    expected = torch.nn.functional.cosine_similarity(preds, prompts.ys[:, 1:], dim=1).mean().item()
    assert finding.evidence.skill.value == pytest.approx(expected)


def test_a_claim_is_one_sentence_that_names_the_nearest_or_says_why_not(examination):
    named, nothing = examined(examination, Newton(3).predict, lambda p: torch.zeros_like(p.ys))
    claim = named.claim()
    assert claim.id == "identification.layer_0" and claim.verdict == "Newton"
    assert claim.text.startswith(
        "The reading of layer 0 is explained to 1.0000 by Newton k=3, of 1.0000 that a filter or all rivals"
    )
    assert claim.text.endswith(".") and claim.value == pytest.approx(1)
    empty = nothing.claim()
    assert "is given no name: it predicts too little" in empty.text and empty.value == 0 and empty.null is None


def test_data_hold_what_the_verdict_rests_on(examination):
    found = examined(examination, mix)[0].data()
    json.dumps(found, allow_nan=False)
    assert {match["family"] for match in found["matches"]} == set(FAMILIES)
    assert found["blends"] and {
        "families",
        "learners",
        "t",
        "missed",
        "unexplained",
        "beaten",
        "gained",
    } == set(found["blends"][0])


@pytest.mark.parametrize("n", [0, 39])
def test_too_few_prompts_are_refused(examination, n):
    with pytest.raises(MesascopeError, match=f"n_prompts={n}: expected at least 40"):
        examination.check(n)
    with pytest.raises(MesascopeError, match=f"n_tune={n}: expected at least 40"):
        Examination(attach(LeastSquares(), task=TASK), n, few())
    examination.check(40)


def test_a_model_that_reads_one_point_is_compared_there(predicts_y: HookedRegressor):
    found = Examination(attach(predicts_y, task=STEP_TASK), 40, few(STEP_TASK))
    assert found.points == [8] and found.contest.preds.shape[1:] == (40, 1)


def test_the_first_point_never_counts(examination):
    assert examination.points == list(range(1, 9))


def test_an_estimate_in_words():
    assert describe_estimate("τ", Estimate(1.23456, 1.0, 2.0)) == "τ = 1.235 [1, 2]"


@pytest.mark.parametrize(
    "twins, open_",
    [
        ([], False),  # a bare predictor
        ([0.01, -0.02, 0.0, 0.03, -0.01], False),  # nothing like it
        ([0.7, -0.5, 0.4, 0.2, -0.6], True),  # none has come as far, but one more might
        ([0.999, -0.5, 0.4, 0.2, -0.6], False),  # one has
    ],
)
def test_more_twins_are_asked_for_where_a_few_leave_it_open(examination, twins, open_):
    subject = examination.enter("output", Ridge(0.5).predict(examination.tune))
    subject.twins = [(skill, 0.0) for skill in twins]
    assert examination.unsettled(subject) is open_
    settled = subject.untrained_skill
    subject.more = [0.1] * 34
    if twins:
        assert settled is not None and subject.untrained_skill is not None
        assert subject.untrained_skill.ci == (min(twins + [0.1]), max(twins + [0.1]))  # 39: their range
        assert settled.high != subject.untrained_skill.high


def test_what_predicts_too_little_asks_for_no_more_twins(examination):
    subject = examination.enter("output", -Ridge(0.5).predict(examination.tune))
    subject.twins = [(skill, 0.0) for skill in (0.7, -0.5, 0.4, 0.2, -0.6)]
    assert not examination.unsettled(subject)
