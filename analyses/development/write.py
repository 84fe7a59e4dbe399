"""Write what was found of a run as a report."""

import json
from pathlib import Path
from typing import Any

from mesascope import __version__
from mesascope.analyses.claim import finite
from mesascope.analyses.development.development import Development
from mesascope.analyses.report.page import render
from mesascope.analyses.report.write import SCHEMA, Report, check_writable, describe_model
from mesascope.analyses.scope import attach
from mesascope.models.files import write_atomically


def write_development(development: Development, out: str | Path, command: str = "") -> Report:
    """Write `out/report.html` and `out/report.json`, atomically.

    Args:
        development: What was found.
        out: Folder, made if it is not there.
        command: The command to print in the report, so that a reader can repeat it.

    Raises:
        MesascopeError: The folder cannot be written, or the run is no longer there.
    """
    folder = Path(out)
    check_writable(folder)
    content = finite(_content(development, command))
    report = Report(folder / "report.html", folder / "report.json", {development.name: development})
    page = render(content, report.results)
    write_atomically(report.json, json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_atomically(report.html, page)
    return report


def _content(development: Development, command: str) -> dict[str, Any]:
    """What a report of one checkpoint holds, about all of them; the last one stands for the model."""
    source = f"{development.run}@step-{development.steps[-1]}"
    last = attach(source, seed=development.seed, w_std=development.w_std)
    return {
        "schema": SCHEMA,
        "checkpoint": development.run,
        "model": describe_model(last),
        "task": last.task.model_dump(mode="json"),
        "seed": development.seed,
        "version": __version__,
        "command": command,
        "verdict": [],  # which algorithm it is, other analyses say
        "warnings": list(development.warnings),
        "analyses": {development.name: development.to_json()},
        "left_out": {},
        "failed": {},
    }
