import json

import pytest

from mesascope.models import MesascopeError

from .conftest import GARG, is_one_line_error


def test_analyse_prints_the_claims_of_one_analysis(run):
    code, out, _ = run("analyse", "zoo:lsa-1", "matching")
    assert code == 0 and "1 step of GD" in out and "η = 2.014" in out


def test_analyse_prints_json_and_writes_figures(run, tmp_path):
    code, out, _ = run("analyse", "zoo:lsa-1", "matching", "--json", "--figures", tmp_path / "figures")
    content = json.loads(out)
    assert code == 0 and content["data"]["verdict"] == "1 step of GD" and content["claims"]
    assert {path.stem for path in (tmp_path / "figures").iterdir()} >= {"matching-distances", "matching-products"}


def test_analyse_names_the_figures_that_it_wrote(run, tmp_path):
    _, out, _ = run("analyse", "zoo:lsa-1", "matching", "--figures", tmp_path)
    assert str(tmp_path / "matching-distances.html") in out


def test_claims_are_said_before_figures_can_fail(run, tmp_path, monkeypatch):
    def full(result, folder):
        raise MesascopeError("cannot write it: No space left on device")

    monkeypatch.setattr("mesascope.analyses.report.figures.write_figures", full)
    code, out, err = run("analyse", "zoo:lsa-1", "matching", "--figures", tmp_path)
    assert code == 1 and "1 step of GD" in out and is_one_line_error(err, "No space left on device")


def test_analyse_warns_on_stderr(run, monkeypatch):
    code, _, err = run("analyse", GARG, "performance")
    assert code == 0 and "w_std" in err


@pytest.mark.parametrize(
    "name, part",
    [("machting", "did you mean 'matching'"), ("matching", "matching does not apply to zoo:lstm")],
)
def test_an_analysis_that_is_not_there_or_does_not_apply_is_one_line(run, name, part):
    code, out, err = run("analyse", "zoo:lstm", name)
    assert code == 1 and out == "" and part in " ".join(err.split()) and err.count("error:") == 1


@pytest.mark.parametrize(
    "name, prompts, warned",
    [("matching", (), 0), ("matching", ("--prompts", 80), 1), ("readouts", ("--prompts", 80), 0)],
)
def test_prompts_that_change_nothing_are_said_to(run, name, prompts, warned):
    code, out, err = run("analyse", "zoo:lsa-1", name, *prompts, "--json")
    assert code == 0 and json.loads(out)["claims"]
    assert err.count("warning: matching fits no readouts, so --prompts 80 changes nothing") == warned
