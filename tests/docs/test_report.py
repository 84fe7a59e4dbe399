"""What docs/report.md says of the JSON is so: its table names every key that a file has at the top."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mesascope.analyses import attach, write_report
from mesascope.analyses.comparison import compare, write_comparison
from mesascope.analyses.development import trace_development, write_development
from mesascope.analyses.registry import ANALYSES
from mesascope.analyses.report import write
from mesascope.analyses.sweep import sweep_checkpoints, write_sweep

from ..analyses.sweep.conftest import Here

TABLE = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8").partition("## report.json")[2]
OF_COMPARE, OF_ONE = {"checkpoints", "not_shared"}, {"checkpoint", "model", "task"}
MATCHING = {"matching": ANALYSES["matching"]}


def documented() -> set[str]:
    rows = re.findall(r"^\| (`.*?) \|", TABLE, re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def keys(path: Path) -> set[str]:
    return set(json.loads(path.read_text("utf-8")))


def test_a_report_has_the_keys_of_the_table(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "ANALYSES", MATCHING)
    assert keys(write_report(attach(tiny_run), tmp_path, 80).json) == documented() - OF_COMPARE


def test_a_run_that_is_followed_has_the_keys_of_a_report(tiny_run, tmp_path):
    found = trace_development(tiny_run, [*MATCHING], n_prompts=80)
    content = json.loads(write_development(found, tmp_path).json.read_text("utf-8"))
    assert set(content) == documented() - OF_COMPARE and content["checkpoint"] == str(tiny_run)
    assert content["model"]["kind"] == "HookedRegressor"


def test_a_comparison_has_all_and_its_model_and_task_are_the_references(tiny_run, tmp_path):
    scopes = [attach(tiny_run), attach(f"{tiny_run}@untrained")]
    content = json.loads(write_comparison(compare(scopes, [*MATCHING], n_paired=40), tmp_path).json.read_text("utf-8"))
    assert set(content) == documented()
    assert content["checkpoint"] == " and ".join(scope.source for scope in scopes)
    reference: dict[str, Any] = content["checkpoints"][0]
    assert reference == {"checkpoint": str(tiny_run), "model": content["model"], "task": content["task"]}


@pytest.mark.parametrize("checkpoint", ["{}", "no/such/checkpoint"])
def test_a_sweep_has_none_of_one_checkpoint_and_names_what_failed_by_checkpoint(tiny_run, tmp_path, checkpoint):
    address = checkpoint.format(tiny_run)
    written = write_sweep(sweep_checkpoints([address], tmp_path, [*MATCHING], 80, executor=Here()), tmp_path)
    content = json.loads(written.json.read_text("utf-8"))
    assert set(content) == documented() - OF_COMPARE - OF_ONE
    assert [*content["failed"]] == ([] if address == str(tiny_run) else [address])
