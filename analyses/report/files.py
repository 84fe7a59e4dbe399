"""The files of a report, whatever it is about: a page, and the same content as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mesascope import __version__
from mesascope.analyses.claim import Result, finite
from mesascope.analyses.report.page import Dress, Found, render
from mesascope.models.files import write_atomically

SCHEMA = 1


@dataclass(frozen=True)
class Report:
    """Where a report was written, and what is in it."""

    html: Path
    json: Path
    results: dict[str, Result]
    failed: dict[str, str] = field(default_factory=dict)
    """Why an analysis that applies could not run, by its name."""


def content_of(
    found: Mapping[str, Found],
    about: dict[str, Any],
    verdict: list[dict[str, Any]],
    seed: int,
    command: str = "",
    left_out: Mapping[str, str] | None = None,
    failed: Mapping[str, str] | None = None,
    *,
    n_prompts: int,
    device: str,
) -> dict[str, Any]:
    """The content of `report.json`.

    Args:
        found: Results by name.
        about: What was looked at: `checkpoint`, `model` and `task`, or `checkpoints` with these of each.
        verdict: The sentences that open it, each with its `text`, the ids of its `claims`, and `evidence` or `lead`.
        seed: Of every prompt and resample.
        command: What makes the same report again.
        left_out: What each analysis that does not apply would need.
        failed: Why each that applies could not run.
        n_prompts: Prompts that readouts were fitted on; of a run that is followed, that each analysis scored.
        device: Where the models ran.
    """
    return {
        "schema": SCHEMA,
        **about,
        "seed": seed,
        "n_prompts": n_prompts,
        "device": device,
        "version": __version__,
        "torch": str(torch.__version__),
        "command": command,
        "verdict": verdict,
        "warnings": [warning for each in found.values() for warning in each.result.warnings],
        "analyses": {name: each.content for name, each in found.items()},
        "left_out": dict(left_out or {}),
        "failed": dict(failed or {}),
    }


def write_files(
    folder: Path, content: dict[str, Any], found: Mapping[str, Found], dress: Dress | None = None
) -> Report:
    """Write page and JSON, atomically.

    Raises:
        MesascopeError: A file cannot be written.
    """
    dress, content = dress or Dress(), finite(content)
    page = render(content, found, dress)
    results = {name: each.result for name, each in found.items()}
    report = Report(folder / "report.html", folder / dress.json, results, content["failed"])
    write_atomically(report.json, json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_atomically(report.html, page)
    return report
