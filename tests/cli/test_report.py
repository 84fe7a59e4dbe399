import json
import shlex
import sys
from pathlib import Path

import pytest

from mesascope.analyses import registry
from mesascope.analyses import report as report_package
from mesascope.analyses.report import write
from mesascope.models import HookedRegressor, MesascopeError, save
from mesascope.models.training.presets import read_preset

from .conftest import GARG, PERFORMANCE, is_one_line_error

READOUTS = PERFORMANCE | {"readouts": registry.ANALYSES["readouts"]}


def test_report_writes_two_files_and_prints_where(run, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ANALYSES", READOUTS)
    out = tmp_path / "new folder" / "report"
    code, stdout, stderr = run("report", tiny_run, "--out", out, "--prompts", "100", "--seed", "3", "--w-std", "0.5")
    assert code == 0
    assert stdout.splitlines() == [str(out / "report.html"), str(out / "report.json")]
    assert stderr == "" or stderr.startswith("warning: ")  # no bar where there is no terminal
    content = json.loads((out / "report.json").read_text())
    assert content["seed"] == 3 and content["task"]["w_std"] == 0.5
    assert list(content["analyses"]) == list(READOUTS)
    assert shlex.split(content["command"]) == ["mesascope", *sys.argv[1:]]


def test_a_report_on_the_wrong_scale_of_w_warns_on_stderr(run, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ANALYSES", PERFORMANCE)
    code, stdout, stderr = run("report", GARG, "--out", tmp_path)
    assert code == 0 and len(stdout.splitlines()) == 2
    assert stderr.startswith("warning: ") and "--w-std" in stderr


def test_report_refuses_an_output_folder_that_cannot_be_written(run, tiny_run, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = run("report", tiny_run, "--out", tmp_path / "file" / "x")
    assert code == 1 and out == ""
    assert is_one_line_error(err, "cannot write to", "Not a directory", "choose another folder")


def test_inspect_and_report_take_a_model_of_tokens_and_refuse_what_it_has_not(run, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ANALYSES", READOUTS)
    config = read_preset("induction")
    folder = tmp_path / "untrained"
    save(HookedRegressor(config.model), folder, config.task, "Never trained.")
    code, out, err = run("inspect", folder)
    assert code == 0 and err == "" and "prefix matching" in out and "w_std" not in out
    code, out, err = run("probe", folder, "--prompts", "40")
    assert code == 1 and out == "" and is_one_line_error(err, "repeated_sequence is no regression task")
    code, out, err = run("inspect", folder, "--w-std", "0.5")
    assert code == 1 and out == "" and is_one_line_error(err, "w_std=0.5", "repeated_sequence")
    code, out, err = run("report", folder, "--out", tmp_path / "report")
    assert code == 0 and err == ""
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert list(content["analyses"]) == ["performance"] and list(content["left_out"]) == ["readouts"]


def fails(scope, n_prompts):
    raise MesascopeError("this one cannot run")


def test_a_report_that_is_not_whole_is_written_and_fails(run, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ANALYSES", PERFORMANCE | {"broken": registry.Analysis(fails)})
    code, stdout, stderr = run("report", "zoo:lsa-1", "--out", tmp_path)
    assert code == 1 and stdout.splitlines() == [str(tmp_path / "report.html"), str(tmp_path / "report.json")]
    assert "error: broken could not run: this one cannot run" in stderr
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["failed"] == {"broken": "this one cannot run"} and [*content["analyses"]] == ["performance"]


@pytest.mark.usefixtures("chromium_path")
def test_report_writes_figures_for_a_paper(run, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ANALYSES", PERFORMANCE)
    code, stdout, _ = run("report", "zoo:lsa-1", "--out", tmp_path, "--figures", tmp_path / "figures")
    assert code == 0
    written = {str(path) for path in (tmp_path / "figures").iterdir()}
    assert written == set(stdout.splitlines()[2:])
    assert {"performance-points.svg", "performance-points.pdf"} <= {path.rsplit("/")[-1] for path in written}


def test_a_report_is_named_before_its_figures_can_fail(run, tmp_path, monkeypatch):
    def full(results, folder):
        raise MesascopeError("cannot write figures/x.svg: No space left on device")

    monkeypatch.setattr(write, "ANALYSES", PERFORMANCE | {"broken": registry.Analysis(fails)})
    monkeypatch.setattr(report_package, "check_exporter", lambda: None)
    monkeypatch.setattr(report_package, "export_figures", full)
    code, stdout, stderr = run("report", "zoo:lsa-1", "--out", tmp_path, "--figures", tmp_path / "figures")
    assert code == 1 and stdout.splitlines() == [str(tmp_path / "report.html"), str(tmp_path / "report.json")]
    assert all(Path(line).exists() for line in stdout.splitlines())
    assert "broken could not run" in stderr and stderr.endswith("No space left on device\n")


def test_figures_that_cannot_be_drawn_are_refused_before_anything_runs(run, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", "/nowhere/chromium")
    code, stdout, stderr = run("report", "zoo:lsa-1", "--out", tmp_path / "report", "--figures", tmp_path)
    assert code == 1 and stdout == "" and not (tmp_path / "report").exists()
    assert is_one_line_error(stderr, "/nowhere/chromium", "apt install chromium")
