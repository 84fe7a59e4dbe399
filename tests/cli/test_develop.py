import json

import pytest

from mesascope.analyses.development import followed

from .conftest import is_one_line_error


def test_develop_prints_claims_and_writes_a_report_and_figures(run, tiny_run, tmp_path):
    out, figures = tmp_path / "out", tmp_path / "figures"
    arguments = ("develop", tiny_run, "--out", out, "--analysis", "performance", "--prompts", 80, "--figures", figures)
    code, stdout, stderr = run(*arguments)
    assert code == 0 and stderr == ""
    assert "goes from" in stdout and "half of the way" in stdout
    assert str(out / "report.html") in stdout and str(out / "report.json") in stdout
    content = json.loads((out / "report.json").read_text())
    assert content["command"].startswith("mesascope develop") and content["analyses"]["development"]["claims"]
    assert (figures / "development-timeline.html").exists()


def test_develop_again_measures_nothing_and_says_the_same(run, tiny_run, tmp_path, monkeypatch):
    arguments = ("develop", tiny_run, "--out", tmp_path, "--analysis", "performance", "--prompts", 80, "--json")
    _, first, _ = run(*arguments)

    def refused(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(followed, "measure_performance", refused)
    code, second, _ = run(*arguments)
    assert code == 0 and json.loads(first) == json.loads(second) and json.loads(first)["claims"]


def test_develop_says_what_a_stopped_run_has_kept(run, tiny_run, tmp_path, monkeypatch):
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(followed, "measure_performance", stopped)
    arguments = ("develop", tiny_run, "--analysis", "performance")
    assert run(*arguments, "--out", tmp_path) == (1, "", f"stopped; what was measured is kept in {tmp_path}\n")
    assert run(*arguments) == (1, "", "stopped; nothing was kept: give --out\n")


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["zoo:lsa-1"], "zoo:lsa-1 keeps 0 checkpoints"),
        (["zoo:separate-tokens", "--analysis", "reedouts"], "did you mean 'readouts'"),
        (["zoo:separate-tokenz"], "did you mean 'separate-tokens'"),
    ],
)
def test_what_cannot_be_followed_is_one_line(run, arguments, part):
    code, out, err = run("develop", *arguments)
    assert code == 1 and out == "" and is_one_line_error(err, part)
