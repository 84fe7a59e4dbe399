import json
from collections import Counter
from dataclasses import replace

import pytest
import torch

from mesascope.analyses import attach, identify
from mesascope.analyses.claim import REACHED
from mesascope.analyses.identification import selftest
from mesascope.analyses.identification.examination import Examination
from mesascope.analyses.identification.judging import Evidence, Verdict
from mesascope.analyses.identification.plants import Plant, built, plants, tasks
from mesascope.analyses.identification.selftest import Case, SelfTest, Untrained, count_cases, grade, run_selftest
from mesascope.models import (
    GradientDescent,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    NearestNeighbours,
    Newton,
    Ridge,
)
from mesascope.models.battery import rivals

TASK = LinearRegression(n_dims=3, n_points=9)
FEW = ("GD", "Newton", "ridge", "least squares", "averaging", "nearest neighbours")
NEWTON = Plant((Newton(3),))
MIXTURE = Plant((LeastSquares(), NearestNeighbours(1)), 0.3)


def case(right, plant=NEWTON, text="Newton"):
    return Case(plant, "isotropic", 0.0, Verdict(text, (text,)), right, "")


@pytest.fixture(scope="module")
def examination():
    sweeps = [sweep for sweep in rivals(TASK) if sweep.learner.family in FEW]
    return Examination(attach(LeastSquares(), task=TASK), 60, sweeps)


def never(plant):
    return False


def graded(examination, plant, verdict, sigma=0.0):
    return grade(plant, verdict, examination, sigma)


def either(*families):
    return Verdict(f"undetermined: {' or '.join(families)}", families, "that does not tell them apart")


# What is planted.


def test_a_mixture_predicts_its_shares_and_goes_by_its_own_row():
    prompts = TASK.sample(5, seed=0, dtype=torch.float64)
    a, b = (learner.predict(prompts) for learner in MIXTURE.learners)
    torch.testing.assert_close(MIXTURE.predict(prompts), 0.3 * a + 0.7 * b)
    assert MIXTURE.family == "mixture" and MIXTURE.families == ("least squares", "nearest neighbours")
    assert MIXTURE.label == "0.30 of least squares and 1-nearest neighbours"
    assert NEWTON.family == "Newton" and NEWTON.label == "Newton k=3"
    torch.testing.assert_close(NEWTON.predict(prompts), Newton(3).predict(prompts))


@pytest.mark.parametrize("name", list(tasks()))
def test_every_family_is_planted_on_every_task_as_often_as_asked(name):
    task = tasks()[name]
    rng = torch.Generator().manual_seed(0)
    one, two = (Counter(plant.family for plant in plants(task, n, rng, never)) for n in (1, 2))
    assert two == Counter({family: 2 * count for family, count in one.items()})
    expected = {sweep.learner.family for sweep in rivals(task)} | {"discrete MMSE", "mixture"}
    assert set(one) == expected
    prompts = task.sample(5, seed=0, dtype=torch.float64)
    assert all(plant.predict(prompts).isfinite().all() for plant in plants(task, 1, rng, never))


def test_constructions_predict_what_their_learners_do_in_several_dimensions():
    found = list(built(2, torch.Generator().manual_seed(0)))
    assert Counter(plant.family for plant, *_ in found) == {"GD": 6, "GD++": 6}
    assert {task.n_dims for *_, task in found} == {2, 3, 5}
    for plant, model, task in found:
        prompts = task.sample(4, seed=0)
        torch.testing.assert_close(
            model(prompts.xs, prompts.ys)[:, -1].double(), plant.predict(prompts)[:, -1].double(), rtol=1e-4, atol=1e-5
        )


def test_tasks_cover_spectra_noise_and_sizes():
    every = tasks().values()
    assert len({repr(task.inputs) for task in every}) >= 4
    assert len({task.noise_std for task in every}) > 1 and len({task.n_dims for task in every}) > 1


def test_cases_are_counted_before_they_run():
    rng = torch.Generator().manual_seed(0)
    assert count_cases(3, 5, ["isotropic"]) == 5 + len(list(plants(tasks()["isotropic"], 3, rng, never)))
    n_built = len(list(built(1, rng)))
    assert count_cases(1, 0) == n_built + sum(count_cases(1, 0, [name]) for name in tasks())


@pytest.mark.parametrize("call", [lambda: count_cases(1, 0, ["isotropc"]), lambda: run_selftest(names=["isotropc"])])
def test_an_unknown_task_suggests_the_nearest(call):
    with pytest.raises(MesascopeError, match="no task is called 'isotropc'; did you mean 'isotropic'"):
        call()


# What is right.


def test_the_planted_name_is_right(examination):
    assert graded(examination, NEWTON, Verdict("Newton", ("Newton",))) == (True, "")
    mixed = Verdict("mixture of nearest neighbours and least squares at t=0.70", MIXTURE.families[::-1], t=0.7)
    assert graded(examination, MIXTURE, mixed) == (True, "")
    assert graded(examination, MIXTURE, replace(mixed, t=0.5)) == (False, "t is 0.70")


def test_another_name_is_wrong(examination):
    right, why = graded(examination, NEWTON, Verdict("ridge", ("ridge",)))
    assert not right and why.startswith("ridge r=") and why.endswith("does not predict the same")


def test_another_name_for_the_same_predictions_is_right(examination):
    right, why = graded(examination, Plant((Newton(60),)), Verdict("least squares", ("least squares",)))
    assert right and why == "least squares predicts the same"
    right, why = graded(examination, Plant((GradientDescent(1, 1.0),)), Verdict("averaging", ("averaging",)))
    assert right and why.endswith("predicts the same")


@pytest.mark.parametrize("part", ["least squares", "nearest neighbours"])
def test_one_half_of_a_mixture_is_wrong(examination, part):
    assert not graded(examination, MIXTURE, Verdict(part, (part,)))[0]


@pytest.mark.parametrize("text", ["like Newton, but not it", "none of the listed", "no algorithm"])
def test_no_name_is_wrong_and_says_why(examination, text):
    families = ("Newton",) if text.startswith("like") else ()
    assert graded(examination, NEWTON, Verdict(text, families, "a reason")) == (False, "a reason")


@pytest.mark.parametrize("sigma, right", [(0.0, False), (100.0, True)])
def test_undetermined_is_right_only_if_so_many_prompts_do_not_tell_them_apart(examination, sigma, right):
    found, why = graded(examination, NEWTON, either("Newton", "ridge"), sigma)
    assert found is right
    assert ("do not tell them apart" if right else "prompts tell them apart") in why


def test_undetermined_between_those_that_predict_the_same_is_right(examination):
    assert graded(examination, Plant((Newton(60),)), either("Newton", "least squares"))[0]


def test_undetermined_among_others_is_wrong(examination):
    assert not graded(examination, NEWTON, either("ridge", "GD"))[0]


def test_what_untrained_models_reach_is_no_name_and_wrong(examination):
    verdict = Verdict(REACHED, (), "an untrained twin may predict as much (cos ≤ 1.10)")
    assert graded(examination, NEWTON, verdict) == (False, verdict.reason)


# What is said.


def test_shares_are_counted_over_all_and_by_family():
    cases = (
        *(case(True) for _ in range(9)),
        case(False, text="ridge"),
        replace(case(True, MIXTURE), verdict=Verdict("mixture of A and B at t=0.30", ("A", "B"), t=0.3)),
    )
    found = SelfTest(cases, 0)
    assert found.recovered == pytest.approx(10 / 11)
    assert found.by_kind == {"Newton": (9, 10), "mixture": (1, 1)}
    assert found.confusion == {"Newton": Counter(Newton=9, ridge=1), "mixture": Counter(mixture=1)}


def test_nothing_failed_where_all_are_found():
    assert SelfTest((case(True),) * 3, 0, (Untrained(0, "decoder", ()),)).failures == ()


def test_too_few_overall_fail():
    several = [Plant((learner,)) for learner in (Newton(3), Ridge(0.5), LeastSquares(), NearestNeighbours(1))]
    cases = [case(True, plant) for plant in several for _ in range(24)]
    enough, too_few = (tuple([case(False, p) for p in several[:n]] + cases) for n in (2, 4))
    assert SelfTest(enough, 0).failures == ()
    assert SelfTest(too_few, 0).failures == ("96.0% of planted learners recovered, expected 97%",)


@pytest.mark.parametrize("wrong, fails", [(1, False), (2, True)])
def test_a_family_that_is_lost_fails_however_good_the_rest(wrong, fails):
    rest = tuple(case(True, Plant((Ridge(0.5),))) for _ in range(200))
    newton = tuple(case(index >= wrong) for index in range(10))
    assert SelfTest(rest + newton, 0).failures == (("Newton: 8 of 10 recovered, expected 90%",) if fails else ())


def test_an_untrained_model_that_is_named_fails():
    named = Untrained(7, "LSTM", ("like GD, but not it",))
    found = SelfTest((case(True),), 0, (Untrained(1, "decoder", ()), named))
    assert found.failures == ("untrained LSTM, seed 7, was named like GD, but not it",)


def test_data_are_json():
    found = SelfTest((case(True), case(False, MIXTURE)), 3, (Untrained(1, "decoder", ()),))
    data = json.loads(json.dumps(found.data(), allow_nan=False))
    assert data["seed"] == 3 and data["recovered"] == 0.5 and data["by_family"]["mixture"] == [0, 1]
    assert data["cases"][1]["planted"] == MIXTURE.label and data["failures"] == list(found.failures)


# The run itself.


@pytest.fixture
def reduced(monkeypatch):
    """Three learners and a mixture, against a few families."""
    some = [
        NEWTON,
        Plant((Ridge(0.5),)),
        Plant((NearestNeighbours(2),)),
        MIXTURE,
        Plant((Ridge(0.5), LeastSquares()), 0.99),
    ]

    def planted(task, n_each, rng, is_single):
        return (plant for plant in some * n_each if len(plant.learners) == 1 or not is_single(plant))

    monkeypatch.setattr(selftest, "plants", planted)
    monkeypatch.setattr(selftest, "rivals", lambda task: [s for s in rivals(task) if s.learner.family in FEW])
    monkeypatch.setattr(selftest, "N_PROMPTS", 200)
    monkeypatch.setattr(selftest, "N_TUNE", 80)


def test_planted_learners_are_recovered_and_mixtures_that_are_none_left_out(reduced):
    said: list[str] = []
    found = run_selftest(n_each=1, n_untrained=0, names=["isotropic"], on_case=said.append)
    assert said[0] == "isotropic: Newton k=3" and len(said) == 4 and found.n_single == 1
    assert [c.plant.label for c in found.cases] == ["Newton k=3", "ridge r=0.5", "2-nearest neighbours", MIXTURE.label]
    assert [c.noise for c in found.cases] == [0.0, 0.02, 0.1, 0.0]
    assert found.failures == () and found.recovered == 1


def test_a_construction_is_found_beside_its_untrained_twins(reduced, monkeypatch):
    """A bare learner has no twins, so that planting those alone would never see a null that is too high."""
    monkeypatch.setattr(selftest, "_planted", lambda *_: iter([case(True)]))
    some = list(built(1, torch.Generator().manual_seed(0)))[:1]
    monkeypatch.setattr(selftest, "built", lambda n_each, rng: iter(some))
    seen: list[Evidence] = []

    def looked(scope, **options):
        result = identify(scope, rivals=selftest.rivals(scope.regression), **options)
        seen.append(result.output.evidence)
        return result

    monkeypatch.setattr(selftest, "identify", looked)
    said: list[str] = []
    found = run_selftest(n_each=1, n_untrained=0, on_case=said.append)
    assert [c.plant.family for c in found.cases[-1:]] == ["GD"] and found.cases[-1].right
    assert found.cases[-1].task == "construction, d=2" and said == [f"construction, d=2: {some[0][0].label}"]
    assert seen[0].untrained_skill is not None


@pytest.mark.slow
def test_the_same_seed_runs_the_same(reduced):
    one, again, other = (run_selftest(seed, 1, 0, ["isotropic"]).data() for seed in (0, 0, 1))
    assert one == again and other["seed"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("index", range(3))
def test_an_untrained_model_of_any_kind_gets_no_name(index):
    found = selftest._untrained(index)
    assert found.seed == index and found.named == ()


def test_untrained_models_are_looked_at_one_after_the_other(monkeypatch):
    monkeypatch.setattr(selftest, "_planted", lambda *_: iter([case(True)]))
    monkeypatch.setattr(selftest, "_untrained", lambda index: Untrained(index, "decoder", ()))
    said: list[str] = []
    found = run_selftest(n_untrained=2, names=["isotropic"], on_case=said.append)
    assert [u.seed for u in found.untrained] == [0, 1]
    assert said == ["untrained model 1 of 2", "untrained model 2 of 2"]
    assert replace(found, untrained=()).failures == ()
