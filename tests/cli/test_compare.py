import json
from functools import partial

import pytest

from mesascope.analyses import comparison
from mesascope.analyses.registry import ANALYSES, Analysis
from mesascope.models import MesascopeError

from .conftest import is_one_line_error

CHEAP = ("--analysis", "performance", "--analysis", "matching", "--prompts", "80")


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch):
    monkeypatch.setattr(comparison, "compare", partial(comparison.compare, n_paired=40))


def test_compare_prints_differences_and_verdicts_that_are_not_the_same(run, tiny_run):
    twin = f"{tiny_run}@untrained-3"
    code, out, err = run("compare", tiny_run, twin, *CHEAP)
    assert code == 0 and err.startswith("warning: Intervals are over prompts")
    assert all(word in out for word in ("95% interval", "differs", "Verdicts that are not the same", "matching.model"))
    assert "numbers differ" in out


def test_compare_finds_no_difference_between_a_run_and_itself(run, tiny_run):
    code, out, _ = run("compare", tiny_run, tiny_run, *CHEAP)
    assert code == 0 and "have the same weights. [no difference]" in " ".join(out.split())
    assert "differs" not in out and "Verdicts that are not" not in out


def test_compare_prints_json_and_writes_figures_and_a_report(run, tiny_run, tmp_path):
    arguments = (tiny_run, tiny_run, "--analysis", "matching", "--prompts", "80")
    code, out, _ = run("compare", *arguments, "--json", "--figures", tmp_path / "figures", "--out", tmp_path / "report")
    content = json.loads(out)
    assert code == 0 and {claim["verdict"] for claim in content["claims"]} == {"no difference"}
    assert (tmp_path / "figures" / "comparison-matching-differences.html").exists()
    assert json.loads((tmp_path / "report" / "report.json").read_text())["analyses"]["comparison"] == content
    code, out, _ = run("compare", *arguments, "--figures", tmp_path / "figures")
    assert str(tmp_path / "figures" / "comparison-loss-values.html") in out


def test_compare_looks_at_all_with_the_task_of_one(run, tiny_run, preset, tmp_path):
    other = json.loads(preset.read_text())
    other["model"]["n_points"] = other["task"]["n_points"] = 9
    preset.write_text(json.dumps(other))
    longer = tmp_path / "longer"
    assert run("train", preset, "--out", longer)[0] == 0
    code, _, err = run("compare", tiny_run, longer, *CHEAP)
    assert code == 1 and is_one_line_error(err, "their tasks differ, n_points is 9 and 7", "--on CKPT")
    code, out, _ = run("compare", tiny_run, longer, *CHEAP, "--on", tiny_run)
    assert code == 0 and "numbers differ" in out


def test_compare_says_what_does_not_apply(run, tiny_run):
    code, out, _ = run("compare", tiny_run, tiny_run, "--analysis", "learned-features", "--prompts", "80")
    said = " ".join(out.split())
    assert code == 0 and f"learned-features of {tiny_run} does not apply: it needs layers before" in said


def test_compare_fails_and_says_which_analysis_could_not_run(run, tiny_run, monkeypatch):
    def fails(scope, n_prompts):
        raise MesascopeError("this one cannot run")

    monkeypatch.setitem(ANALYSES, "matching", Analysis(fails))
    for options in ((), ("--json",)):
        code, out, err = run("compare", tiny_run, tiny_run, *CHEAP, *options)
        assert code == 1 and f"error: matching of {tiny_run} could not run: this one cannot run" in err
        assert "performance" in out


def test_compare_says_what_could_not_run_also_where_its_report_cannot_be_written(run, tiny_run, tmp_path, monkeypatch):
    def fails(*_):
        raise MesascopeError("the disk is full")

    monkeypatch.setitem(ANALYSES, "matching", Analysis(fails))
    monkeypatch.setattr(comparison, "write_comparison", fails)
    code, _, err = run("compare", tiny_run, tiny_run, "--analysis", "matching", "--out", tmp_path / "report")
    assert code == 1 and f"error: matching of {tiny_run} could not run: the disk is full" in err
    assert err.endswith("error: the disk is full\n")


def test_compare_raises_a_mistake_of_ours_after_what_was_found(run, tiny_run, monkeypatch, capsys):
    def breaks(scope, n_prompts):
        raise ZeroDivisionError

    monkeypatch.setitem(ANALYSES, "matching", Analysis(breaks))
    with pytest.raises(ZeroDivisionError):
        run("compare", tiny_run, f"{tiny_run}@untrained", "--analysis", "matching")
    out, err = capsys.readouterr()
    assert "numbers differ" in out and "could not run: a mistake of ours, ZeroDivisionError" in err


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ((), ("got 1 checkpoint; give at least two",)),
        (("zoo:lsa-22",), ("did you mean 'lsa-2'",)),
        (("zoo:decoder-d5",), ("cannot compare", "their tasks differ")),
        (("zoo:lsa-2", "--analysis", "matchin"), ("'matchin'; did you mean 'matching'",)),
    ],
    ids=["one", "unknown", "other task", "unknown analysis"],
)
def test_what_cannot_be_compared_is_refused_in_a_line(run, tiny_run, arguments, parts):
    code, _, err = run("compare", tiny_run, *arguments)
    assert code == 1 and is_one_line_error(err, *parts)
