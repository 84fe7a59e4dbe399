"""Write a comparison as a report."""

import json
from pathlib import Path
from typing import Any

from mesascope import __version__
from mesascope.analyses.claim import finite
from mesascope.analyses.comparison.comparison import Comparison
from mesascope.analyses.report.page import render
from mesascope.analyses.report.write import SCHEMA, Report, check_writable, describe_model
from mesascope.analyses.scope import Scope
from mesascope.models.files import write_atomically


def write_comparison(comparison: Comparison, reference: Scope, out: str | Path, command: str = "") -> Report:
    """Write `out/report.html` and `out/report.json`, atomically.

    Args:
        comparison: What was found.
        reference: The scope of the first checkpoint, whose task and architecture the report tells.
        out: Folder, made if it is not there.
        command: The command to print in the report, so that a reader can repeat it.

    Raises:
        MesascopeError: The folder cannot be written.
    """
    folder = Path(out)
    check_writable(folder)
    content = finite(_content(comparison, reference, command))
    report = Report(folder / "report.html", folder / "report.json", {comparison.name: comparison})
    page = render(content, report.results)
    write_atomically(report.json, json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_atomically(report.html, page)
    return report


def _content(comparison: Comparison, reference: Scope, command: str) -> dict[str, Any]:
    """What a report of one checkpoint holds; the reference stands for the model."""
    return {
        "schema": SCHEMA,
        "checkpoint": " and ".join(comparison.checkpoints),
        "model": describe_model(reference),
        "task": reference.task.model_dump(mode="json"),
        "seed": comparison.seed,
        "version": __version__,
        "command": command,
        "verdict": [],  # which algorithm each is, its own report says
        "warnings": list(comparison.warnings),
        "analyses": {comparison.name: comparison.to_json()},
        "left_out": {},
        "failed": {},
    }
