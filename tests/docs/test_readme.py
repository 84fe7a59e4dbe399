"""What README says is so: its Python runs, its commands exist, and its options are theirs."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesascope import analyses
from mesascope.analyses.registry import ANALYSES
from mesascope.analyses.report import write
from mesascope.models import HookedRegressor, LinearRegression, RegressorConfig
from mesascope.models.battery import rivals

from ..cli.calls import COMMANDS, options
from .snippets import outputs

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything as README asks for it, of a smaller decoder and on fewer prompts than are worth believing."""
    attach, cfg = analyses.attach, RegressorConfig(n_dims=2, n_points=7, n_layers=3, n_heads=2, d_model=16, d_head=8)
    small = attach(HookedRegressor(cfg), task=LinearRegression(n_dims=2, n_points=7))
    monkeypatch.setattr(
        analyses, "attach", lambda source, **asked: small if source == "zoo:decoder-d5" else attach(source, **asked)
    )
    sizes = {
        "fit_readouts": {"n_prompts": 200, "n_scored": 100},
        "find_induction": {"n_prompts": 40, "n_scored": 40, "weigh": False, "ablate": False},
        "trace_causes": {"n_prompts": 160, "n_pairs": 40},
    }
    for name, size in sizes.items():
        monkeypatch.setattr(analyses, name, partial(getattr(analyses, name), **size))
    identify = analyses.identify

    def quick(scope: Any) -> Any:
        known = [sweep for sweep in rivals(scope.regression) if sweep.learner.family in ("GD", "least squares")]
        return identify(scope, n_prompts=60, n_tune=60, n_fit=100, rivals=known, shifts=False)

    monkeypatch.setattr(analyses, "identify", quick)
    monkeypatch.setattr(write, "ANALYSES", {"performance": ANALYSES["performance"]})


@pytest.mark.slow
@pytest.mark.usefixtures("few", "unchecked_shapes")
def test_its_python_runs_and_says_what_it_tells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ((snippet, printed),) = outputs(README)
    lines = printed.splitlines()
    assert "MesascopeError" not in printed and len(lines) == snippet.code.count("print(")
    assert "2 steps of GD++" in lines and '"2 steps of GD++"' in snippet.code
    assert (tmp_path / "out" / "report.html").exists()


def test_its_table_of_commands_is_that_of_the_program():
    rows = re.findall(r"^\| `mesascope ([^`]*)` \|(.*)\|$", README, re.MULTILINE)
    assert {row.split()[0] for row, _ in rows} == set(COMMANDS) and len(rows) == len(COMMANDS)
    for row, said in rows:
        told = re.findall(r"--[a-z][a-z-]*", f"{row} {said}")
        assert set(told) <= set(options(row.split()[0])), row
