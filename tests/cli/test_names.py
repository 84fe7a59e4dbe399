"""A checkpoint may be called anything: what looks like markup is printed as it is, by every command."""

import shutil
import sys
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytest

from mesascope import analyses
from mesascope.analyses import comparison, sweep
from mesascope.analyses.claim import Claim
from mesascope.analyses.identification import Identification
from mesascope.analyses.report import write
from mesascope.analyses.similarity import Similarity
from mesascope.cli.console import claims_table, out
from mesascope.models.battery import rivals

from .calls import COMMANDS, call, options, takes_a_checkpoint
from .conftest import PERFORMANCE, Here

HOSTILE = "a:fire:b [/b] [red]c[/] [d"
"""Two folders, between which a tag is closed that was never opened; one is called like an emoji."""


@pytest.fixture
def hostile(tiny_run: Path, tmp_path: Path) -> Path:
    """A run folder of this name."""
    shutil.copytree(tiny_run, tmp_path / HOSTILE)
    return tmp_path / HOSTILE


@pytest.fixture
def in_a_terminal(run: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program where progress is shown."""

    def program(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", "1000")
        found: tuple[int, str, str] = run(*arguments)
        return found

    return program


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rivals, one analysis, one process."""
    monkeypatch.setattr(write, "ANALYSES", PERFORMANCE)
    monkeypatch.setattr(sweep, "LocalProcesses", Here)
    monkeypatch.setattr(comparison, "compare", partial(comparison.compare, n_paired=40))
    identify, measure_similarity = analyses.identify, analyses.measure_similarity

    def few(scope: Any, **asked: Any) -> Identification:
        known = [sweep for sweep in rivals(scope.regression) if sweep.learner.family in ("GD", "ridge")]
        return identify(scope, **asked | {"n_prompts": 60, "n_tune": 60, "rivals": known, "shifts": False})

    def alike(scope: Any, **asked: Any) -> Similarity:
        return measure_similarity(scope, n_prompts=800, n_fit=100, rivals=["GD"])

    monkeypatch.setattr(analyses, "identify", few)
    monkeypatch.setattr(analyses, "measure_similarity", alike)


def test_an_interval_without_ends_is_printed(capsys):
    claims = [
        Claim("a", "Nothing is known.", 0.0, (-inf, inf), None, "none"),
        Claim("b", "b", 0.0, (inf, inf), 0.0, ""),
    ]
    out().print(claims_table(claims, "title"))
    printed = capsys.readouterr().out
    assert "[-inf, inf]" in printed and "[inf, inf]" in printed


@pytest.mark.parametrize("name", [name for name in COMMANDS if takes_a_checkpoint(name) or name == "train"])
def test_a_hostile_name_is_printed_as_it_is(in_a_terminal, hostile, preset, tmp_path, name):
    named = tmp_path / HOSTILE / "mine.yaml"
    preset.rename(named)
    wanted = ["--out", str(tmp_path / HOSTILE / "out")] if "--out" in options(name) else []
    code, out, err = in_a_terminal(*call(name, hostile, tmp_path / "out", preset=named), *wanted)
    assert code == 0, err
    assert HOSTILE in " ".join((out + err).split())
