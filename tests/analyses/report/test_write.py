import json

import pytest
import torch

from mesascope import __version__
from mesascope.analyses import attach, write_report
from mesascope.analyses.claim import Result
from mesascope.analyses.registry import ANALYSES, Analysis
from mesascope.analyses.report import write
from mesascope.models import LeastSquares, LinearRegression, MesascopeError

from ..conftest import STEP_TASK, few_prompts
from .conftest import QUICK, Page, refused
from .planted import Planted

FIRST = {"performance": ANALYSES["performance"]}


@pytest.fixture(autouse=True)
def quick():
    with few_prompts(100):
        yield


def fails(scope: object, n_prompts: int) -> Result:
    raise MesascopeError("this one <cannot> run")


def breaks(scope: object, n_prompts: int) -> Result:
    raise ZeroDivisionError


def test_json_has_the_published_schema(written, tiny_run):
    content = json.loads(written.json.read_text("utf-8"), parse_constant=refused)
    assert {"schema", "checkpoint", "task", "seed", "version", "command", "analyses"} <= content.keys()
    assert content["schema"] == 1
    assert content["checkpoint"] == str(tiny_run)
    assert content["version"] == __version__ and content["torch"] == torch.__version__
    assert content["n_prompts"] == 400 and content["device"] == "cpu"
    assert content["command"] == "mesascope report <&> --out 'a b'"
    assert LinearRegression.model_validate(content["task"]) == LinearRegression(n_dims=2, n_points=7)
    assert content["failed"] == {} and written.failed == {}
    assert [*content["analyses"]] == [*QUICK]
    for analysis in content["analyses"].values():
        assert {"claims", "data"} <= analysis.keys()
        assert analysis["claims"] and analysis["data"]
        for claim in analysis["claims"]:
            assert set(claim) == {"id", "text", "value", "ci", "null", "verdict"}
            assert claim["text"].endswith(".") and claim["verdict"]
            low, high = claim["ci"] or (claim["value"], claim["value"])
            assert claim["value"] is None or low <= claim["value"] <= high


def test_every_analysis_that_may_not_apply_says_what_it_needs():
    assert [name for name, analysis in ANALYSES.items() if not analysis.needs] == ["performance"]  # applies to all


def test_claim_ids_are_unique(written):
    content = json.loads(written.json.read_text("utf-8"))
    ids = [claim["id"] for analysis in content["analyses"].values() for claim in analysis["claims"]]
    assert len(ids) == len(set(ids))


def test_a_learner_has_a_report_without_readouts(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ANALYSES", QUICK)
    report = write_report(attach(LeastSquares()), tmp_path, n_prompts=100)
    content = json.loads(report.json.read_text("utf-8"))
    assert [*content["analyses"]] == [*report.results] == ["performance"]
    assert [*content["left_out"]] == ["readouts", "matching"]
    assert content["checkpoint"] == "<LeastSquares least squares>"
    assert content["model"] == {"kind": "PredictorModel"}
    assert "<h1>&lt;LeastSquares least squares&gt;</h1>" in report.html.read_text("utf-8")


def test_a_model_without_a_folder_has_a_report(predicts_y, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ANALYSES", FIRST)
    report = write_report(attach(predicts_y, task=STEP_TASK), tmp_path)
    content = json.loads(report.json.read_text("utf-8"))
    assert content["checkpoint"] == "a hooked model"
    assert content["model"]["config"] == predicts_y.cfg.model_dump(mode="json")
    assert content["model"]["n_parameters"] == 4 * 4 * 4


def test_an_analysis_that_cannot_run_is_named_and_the_others_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ANALYSES", {"failing": Analysis(fails)} | FIRST)
    report = write_report(attach(LeastSquares()), tmp_path)
    assert report.failed == {"failing": "this one <cannot> run"}
    content = json.loads(report.json.read_text("utf-8"))
    assert content["failed"] == report.failed
    assert [*content["analyses"]] == ["performance"] and content["left_out"] == {}
    html = report.html.read_text("utf-8")
    assert "This report is not whole" in html and "failed: this one &lt;cannot&gt; run" in html


@pytest.mark.parametrize("analysis, error", [(fails, MesascopeError), (breaks, ZeroDivisionError)])
def test_an_earlier_report_survives_when_nothing_can_be_reported(tmp_path, monkeypatch, analysis, error):
    for name in ("report.html", "report.json"):
        (tmp_path / name).write_text("earlier")
    monkeypatch.setattr(write, "ANALYSES", {"failing": Analysis(analysis)})
    with pytest.raises(error) as raised:
        write_report(attach(LeastSquares()), tmp_path)
    if error is MesascopeError:
        assert str(raised.value) == "no analysis could run: failing: this one <cannot> run"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "report.html": "earlier",
        "report.json": "earlier",
    }


def test_a_mistake_of_ours_is_raised_after_what_was_found_is_written(tmp_path, monkeypatch):
    wrong = FIRST | {"wrong": Analysis(breaks), "after": Analysis(fails)}
    monkeypatch.setattr(write, "ANALYSES", wrong)
    with pytest.raises(ZeroDivisionError):
        write_report(attach(LeastSquares()), tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    assert [*content["analyses"]] == ["performance"] and [*content["failed"]] == ["wrong", "after"]
    assert content["failed"]["wrong"] == "a mistake of ours, ZeroDivisionError: without a word"
    assert "It lacks wrong, after; " in Page((tmp_path / "report.html").read_text()).text


def test_a_section_that_cannot_be_drawn_or_lacks_memory_costs_itself_alone(tmp_path, monkeypatch):
    class Undrawn(Planted):
        def figures(self):
            raise MesascopeError("there is nothing to draw; draw another")

    def too_large(scope, n_prompts):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")

    some = {"undrawn": Analysis(lambda scope, n: Undrawn()), "large": Analysis(too_large)} | FIRST
    monkeypatch.setattr(write, "ANALYSES", some)
    report = write_report(attach(LeastSquares()), tmp_path)
    assert [*report.results] == ["performance"]
    assert report.failed == {
        "undrawn": "there is nothing to draw; draw another",
        "large": "out of memory (CUDA out of memory. Tried to allocate 20 GiB); use fewer prompts (--prompts) or "
        "another device (--device)",
    }
    assert json.loads(report.json.read_text())["failed"] == report.failed


def test_a_new_analysis_is_picked_up_from_the_registry_in_order(tmp_path, monkeypatch):
    started: list[str] = []
    deaf = Analysis(FIRST["performance"].run, lambda scope: False, "a model with <ears>")
    monkeypatch.setattr(write, "ANALYSES", FIRST | {"deaf": deaf})
    report = write_report(attach(LeastSquares()), tmp_path, on_analysis=started.append)
    assert started == ["performance", "deaf", "writing"]
    assert list(report.results) == ["performance"]
    # Named, not silently absent, and no failure.
    assert json.loads(report.json.read_text("utf-8"))["left_out"] == {"deaf": "a model with <ears>"}
    html = report.html.read_text("utf-8")
    assert "<dt>deaf</dt><dd>does not apply: it needs a model with &lt;ears&gt;</dd>" in html
    assert "This report is not whole" not in html


def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    started: list[str] = []
    with pytest.raises(MesascopeError, match=r"cannot write to .*/file/out: Not a directory; choose another folder"):
        write_report(attach(LeastSquares()), tmp_path / "file" / "out", on_analysis=started.append)
    assert started == []


def test_writing_leaves_the_two_files_and_nothing_else(written):
    assert {path.name for path in written.html.parent.iterdir()} == {"report.html", "report.json"}
