"""Run every analysis on a scope, and write what was found."""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mesascope import __version__
from mesascope.analyses.claim import Result, finite
from mesascope.analyses.registry import ANALYSES
from mesascope.analyses.report.page import render
from mesascope.analyses.report.verdict import sentences
from mesascope.analyses.scope import Scope
from mesascope.models import HookedRegressor, MesascopeError
from mesascope.models.training.checkpoints import write_atomically

SCHEMA = 1


@dataclass(frozen=True)
class Report:
    """Where a report was written, and what is in it."""

    html: Path
    json: Path
    results: dict[str, Result]
    failed: dict[str, str] = field(default_factory=dict)
    """Why an analysis that applies could not run, by its name."""


@dataclass(frozen=True)
class Findings:
    """What the analyses of a scope came to."""

    results: dict[str, Result]
    left_out: dict[str, str]
    """What each analysis that does not apply would need."""
    failed: dict[str, str]
    """The error of each analysis that applies and could not run."""


def write_report(
    scope: Scope,
    out: str | Path,
    n_prompts: int = 20_000,
    *,
    command: str = "",
    on_analysis: Callable[[str], None] = lambda name: None,
) -> Report:
    """Run every analysis and write `out/report.html` and `out/report.json`.

    Both are written at the end and atomically: an earlier report stays whole until then. An analysis that cannot run is
    named in the report with its error, and the others are reported: their minutes are not lost for it.

    Args:
        scope: What to report on.
        out: Folder, made if it is not there.
        n_prompts: Prompts to fit readouts on.
        command: The command to print in the report, so that a reader can repeat it.
        on_analysis: Called with the name of each analysis as it starts, and with "writing" at the end.

    Raises:
        MesascopeError: The folder cannot be written (checked first), or no analysis can run.
    """
    folder = Path(out)
    check_writable(folder)
    findings = run_analyses(scope, n_prompts, on_analysis)
    on_analysis("writing")
    content = finite(report_json(scope, findings, command))
    page = render(content, findings.results)
    report = Report(folder / "report.html", folder / "report.json", findings.results, findings.failed)
    write_atomically(report.json, json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_atomically(report.html, page)
    return report


def run_analyses(
    scope: Scope, n_prompts: int = 20_000, on_analysis: Callable[[str], None] = lambda name: None
) -> Findings:
    """Run every analysis that applies; one that refuses does not stop the others.

    Only what a user can do something about is caught: a mistake of ours goes on as it is.

    Raises:
        MesascopeError: None can run.
    """
    findings = Findings({}, {}, {})
    for name, analysis in ANALYSES.items():
        on_analysis(name)
        try:
            if analysis.applies(scope):
                findings.results[name] = analysis.run(scope, n_prompts)
            else:
                findings.left_out[name] = analysis.needs
        except MesascopeError as error:
            findings.failed[name] = str(error)
    if findings.failed and not findings.results:
        raise MesascopeError(f"no analysis could run: {'; '.join(f'{n}: {e}' for n, e in findings.failed.items())}")
    return findings


def report_json(scope: Scope, findings: Findings, command: str) -> dict[str, Any]:
    """The content of `report.json`."""
    results = findings.results
    return {
        "schema": SCHEMA,
        "checkpoint": scope.source,
        "model": describe_model(scope),
        "task": scope.task.model_dump(mode="json"),
        "seed": scope.seed,
        "version": __version__,
        "command": command,
        "verdict": sentences(results.values()),
        "warnings": [warning for result in results.values() for warning in result.warnings],
        "analyses": {name: result.to_json() for name, result in results.items()},
        "left_out": findings.left_out,
        "failed": findings.failed,
    }


def describe_model(scope: Scope) -> dict[str, Any]:
    """Architecture and origin, as far as they are known."""
    described: dict[str, Any] = {"kind": type(scope.model).__name__}
    if isinstance(scope.model, HookedRegressor):
        described |= {
            "config": scope.model.cfg.model_dump(mode="json"),
            "n_parameters": sum(parameter.numel() for parameter in scope.model.parameters()),
        }
    if scope.checkpoint is not None:
        described |= {
            "format": scope.checkpoint.format,
            "seed": scope.checkpoint.seed,
            "about": scope.checkpoint.about,
            "command": scope.checkpoint.command,
            "w_std_known": scope.checkpoint.w_std_known,
        }
    return described


def check_writable(folder: Path) -> None:
    """Make a folder and try it, before minutes are spent.

    Raises:
        MesascopeError: It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MesascopeError(
            f"cannot write to {folder}: {error.strerror or os.strerror(error.errno or 0)}; choose another folder"
        ) from error
