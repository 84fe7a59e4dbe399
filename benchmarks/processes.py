"""Whole commands, as a user waits for them."""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from row import Row, skipped
from timing import elapsed, seconds

import mesascope

SPECIMEN = "decoder-d5"


def process_rows() -> list[Row]:
    """The report with its size, and `--help`."""
    return [*_report_rows(), _help_row()]


def _run(*arguments: str) -> float:
    # By module, so that it is this environment's mesascope whatever is on PATH.
    command = [sys.executable, "-m", "mesascope", *arguments]
    return elapsed(lambda: subprocess.run(command, check=True, capture_output=True))


def _report_rows() -> list[Row]:
    names, targets = (f"mesascope report zoo:{SPECIMEN}", "report.html"), ("≤ 60 s", "≤ 8 MB")
    if not (Path(mesascope.__file__).parent / "models" / "zoo" / SPECIMEN / "model.safetensors").exists():
        why = f"zoo:{SPECIMEN} is not trained yet"
        return [skipped(name, target, why) for name, target in zip(names, targets, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        took = _run("report", f"zoo:{SPECIMEN}", "--out", folder)
        size = (Path(folder) / "report.html").stat().st_size / 1e6
    return [
        Row(names[0], seconds(took), "–", "–", targets[0], took <= 60, "one process, start included, 20,000 prompts"),
        Row(names[1], f"{size:.2f} MB", "–", "–", targets[1], size <= 8, "plotly.js inside"),
    ]


def _help_row() -> Row:
    took = [_run("--help") for _ in range(5)]
    middle = statistics.median(took)
    return Row("mesascope --help", seconds(middle), "–", "–", "≤ 1 s", middle <= 1, "median of 5 processes")
