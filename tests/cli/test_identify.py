import json
from typing import Any

import pytest

from mesascope import analyses

from .conftest import is_one_line_error


@pytest.fixture
def quick_identify(monkeypatch: pytest.MonkeyPatch) -> None:
    """Identification against a few families, tuned on few prompts."""
    from mesascope.models.battery import rivals

    def few(scope: Any, **options: Any) -> Any:
        names = ("GD", "Newton", "ridge", "least squares", "averaging")
        sweeps = [sweep for sweep in rivals(scope.regression) if sweep.learner.family in names]
        return identify(scope, n_tune=60, rivals=sweeps, **options)

    identify = analyses.identify
    monkeypatch.setattr(analyses, "identify", few)


IDENTIFY = ("identify", "--prompts", "60", "--readout-prompts", "100")


def test_identify_prints_a_table_and_the_models_verdict(run, tiny_run, quick_identify):
    code, out, err = run(*IDENTIFY, tiny_run)
    assert code == 0
    assert all(word in out for word in ("output", "layer 1", "input", "verdict", "ceiling", "The model"))
    assert "Traceback" not in err
    assert all(line.startswith(("Hardest to tell apart: ", "warning: ")) for line in err.splitlines())


@pytest.mark.parametrize("shifts", [True, False])
def test_identify_prints_json_for_machines(run, tiny_run, quick_identify, shifts):
    code, out, _ = run(*IDENTIFY, tiny_run, "--json", "--seed", "2", *([] if shifts else ["--no-shifts"]))
    content = json.loads(out)
    assert code == 0
    data = content["data"]
    assert (data["n_prompts"], data["seed"]) == (60, 2)
    assert [layer["label"] for layer in data["layers"]] == ["input", "layer 1", "output"]
    assert content["claims"][0]["id"] == "identification.model"
    named = data["layers"][-1]["families"] and not data["layers"][-1]["reason"]
    assert (data["scorecard"] is not None) is bool(shifts and named)


def test_identify_designs_prompts_that_tell_the_nearest_apart(run, tiny_run, quick_identify, monkeypatch):
    from mesascope.analyses.identification import design

    every = design.candidates
    monkeypatch.setattr(design, "N_PROMPTS", 40)
    monkeypatch.setattr(design, "candidates", lambda task: dict(list(every(task).items())[:3]))
    code, out, err = run(*IDENTIFY, tiny_run, "--discriminating")
    assert code == 0 and "The model" in out
    assert "Designed prompts: " in err


def test_identify_refuses_to_design_prompts_of_a_task_that_is_not_linear_before_it_computes(run, monkeypatch):
    def identify(*args: Any, **options: Any) -> None:
        raise AssertionError("it ran")

    monkeypatch.setattr(analyses, "identify", identify)
    code, out, err = run(*IDENTIFY, "zoo:sine", "--discriminating")
    assert code == 1 and out == "" and is_one_line_error(err, "sine is not linear regression")


@pytest.mark.parametrize("option", ["--prompts", "--readout-prompts"])
def test_identify_asks_for_enough_prompts(run, tiny_run, option):
    code, out, err = run("identify", tiny_run, option, "39")
    assert code == 2 and out == "" and "Usage" in err


def test_identify_refuses_what_is_no_checkpoint(run):
    code, out, err = run("identify", "no/such/folder")
    assert code == 1 and out == "" and is_one_line_error(err, "no/such/folder")
