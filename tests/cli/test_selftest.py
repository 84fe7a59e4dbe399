import json
from collections.abc import Callable

import pytest

from mesascope.analyses.induction import selftest as induction_selftest
from mesascope.analyses.induction.selftest import CircuitCase, CircuitTest
from mesascope.analyses.matching import selftest as matching_selftest
from mesascope.analyses.matching.selftest import ConstructionCase, ConstructionTest

from .conftest import is_one_line_error


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """A selftest of one case that is right or wrong."""
    from mesascope.analyses.identification import selftest
    from mesascope.analyses.identification.judging import Verdict
    from mesascope.models import Newton

    def plant(right: bool) -> None:
        verdict = Verdict("Newton", ("Newton",)) if right else Verdict("ridge", ("ridge",))
        case = selftest.Case(
            selftest.Plant((Newton(3),)), "isotropic", 0.02, verdict, right, "" if right else "it is not"
        )
        monkeypatch.setattr(selftest, "_planted", lambda *_: iter([case]))
        monkeypatch.setattr(selftest, "_untrained", lambda index: selftest.Untrained(index, "LSTM", ()))

    return plant


@pytest.mark.parametrize("right", [True, False])
def test_selftest_fails_when_a_learner_is_lost(run, planted, right):
    planted(right)
    code, out, err = run(
        "selftest", "--task", "isotropic", "--untrained", "2", "--constructions", "0", "--circuits", "0"
    )
    assert code == (0 if right else 1)
    assert "untrained models" in out and "2 of 2" in out
    if right:
        assert "100.0% of 1 planted cases recovered" in out and err == ""
    else:
        assert "lost: Newton k=3 on isotropic, noise 0.02: ridge; it is not" in out
        assert "failed: Newton: 0 of 1 recovered, expected 90%" in err


@pytest.mark.parametrize("right", [True, False])
def test_selftest_prints_json_for_machines(run, planted, right):
    planted(right)
    options = (
        "--task",
        "isotropic",
        "--untrained",
        "1",
        "--constructions",
        "0",
        "--circuits",
        "0",
        "--json",
        "--seed",
        "5",
    )
    code, out, _ = run("selftest", *options)
    content = json.loads(out)
    assert code == (0 if right else 1)
    assert content["seed"] == 5 and content["recovered"] == float(right)
    assert content["untrained"] == [{"seed": 5, "model": "LSTM", "named": []}]
    assert bool(content["failures"]) is not right


def test_selftest_names_the_nearest_task(run):
    code, out, err = run("selftest", "--task", "isotropc")
    assert code == 1 and out == "" and is_one_line_error(err, "'isotropc'", "did you mean 'isotropic'?")


@pytest.mark.parametrize("right", [True, False])
def test_selftest_fails_when_a_construction_is_lost(run, planted, monkeypatch, right):
    planted(True)
    case = ConstructionCase("GD", "1 step of GD", "1 step of GD" if right else "", 1e-7, 0.0)
    monkeypatch.setattr(matching_selftest, "run_construction_test", lambda *_: ConstructionTest((case,), 0))
    code, out, err = run("selftest", "--task", "isotropic", "--untrained", "0", "--circuits", "0")
    assert code == (0 if right else 1) and f"{int(right)} of 1" in out
    assert right or "failed: GD: expected 1 step of GD, got none at distance 1.0e-07" in err


@pytest.mark.parametrize("right", [True, False])
def test_selftest_fails_when_a_circuit_is_lost(run, planted, monkeypatch, right):
    planted(True)
    case = CircuitCase("induction", "a circuit", "a circuit" if right else "no circuit", 0.5, 0.25)
    monkeypatch.setattr(induction_selftest, "run_circuit_test", lambda *_, **__: CircuitTest((case,), 0))
    code, out, err = run("selftest", "--task", "isotropic", "--untrained", "0", "--constructions", "0")
    assert code == (0 if right else 1) and f"{int(right)} of 1" in out
    assert right or "failed: induction: expected a circuit, got no circuit (copy score 0.500" in err


@pytest.mark.parametrize(
    "arguments", [["--each", "0"], ["--untrained", "-1"], ["--constructions", "-1"], ["--circuits", "-1"]]
)
def test_selftest_refuses_to_plant_nothing(run, arguments):
    code, out, _ = run("selftest", *arguments)
    assert code == 2 and out == ""
