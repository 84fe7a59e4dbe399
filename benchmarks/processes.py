"""Whole commands, as a user waits for them, with the memory that they take."""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from row import Row, skipped
from timing import elapsed, seconds

import mesascope

SPECIMEN = "decoder-d5"
ANALYSES = {"identification": 90, "induction": 30, "causality": 60}
"""Seconds that one analysis of the specimen may take."""
_MEASURED = """
import atexit, runpy, sys

def peak():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(status["VmHWM"].split()[0], file=sys.stderr)

atexit.register(peak)
runpy.run_module("mesascope", run_name="__main__", alter_sys=True)
"""
"""VmHWM, not ru_maxrss: the latter starts from the parent's peak, because it survives fork and exec."""


def process_rows() -> list[Row]:
    """The report with its size and memory, the dearest analyses, and `--help`."""
    return [*_report_rows(), *map(_analysis_row, ANALYSES), _help_row()]


def _report_rows() -> list[Row]:
    names = (f"mesascope report zoo:{SPECIMEN}", "its peak memory", "its report.html")
    targets = ("≤ 240 s", "≤ 1.5 GB", "≤ 10 MB")
    if not _is_trained():
        return [skipped(name, target, _UNTRAINED) for name, target in zip(names, targets, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        took, memory = _measure("report", f"zoo:{SPECIMEN}", "--out", folder)
        size = (Path(folder) / "report.html").stat().st_size / 1e6
    reached = None if memory is None else memory <= 1.5
    return [
        Row(names[0], seconds(took), "–", "–", targets[0], took <= 240, "every analysis; one process, start included"),
        Row(names[1], _gigabytes(memory), "–", "–", targets[1], reached, "VmHWM, Python and torch included"),
        Row(names[2], f"{size:.2f} MB", "–", "–", targets[2], size <= 10, "plotly.js inside"),
    ]


def _analysis_row(name: str) -> Row:
    command, limit = f"mesascope analyse zoo:{SPECIMEN} {name}", ANALYSES[name]
    if not _is_trained():
        return skipped(command, f"≤ {limit} s", _UNTRAINED)
    took, memory = _measure("analyse", f"zoo:{SPECIMEN}", name)
    return Row(command, seconds(took), "–", "–", f"≤ {limit} s", took <= limit, f"peak memory {_gigabytes(memory)}")


_UNTRAINED = f"zoo:{SPECIMEN} is not trained yet"


def _is_trained() -> bool:
    return (Path(mesascope.__file__).parent / "models" / "zoo" / SPECIMEN / "model.safetensors").exists()


def _measure(*arguments: str) -> tuple[float, float | None]:
    """Wall seconds of a command, and its peak memory in GB; None without Linux' /proc."""
    runs: list[subprocess.CompletedProcess[str]] = []
    # By module, so that it is this environment's mesascope whatever is on PATH.
    ours = ["-c", _MEASURED] if Path("/proc/self/status").exists() else ["-m", "mesascope"]
    command = [sys.executable, *ours, *arguments]
    took = elapsed(lambda: runs.append(subprocess.run(command, check=True, capture_output=True, text=True)))
    return took, int(runs[0].stderr.split()[-1]) / 1e6 if "-c" in ours else None


def _gigabytes(memory: float | None) -> str:
    return "–" if memory is None else f"{memory:.2f} GB"


def _help_row() -> Row:
    command = [sys.executable, "-m", "mesascope", "--help"]
    took = [elapsed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(5)]
    middle = statistics.median(took)
    return Row("mesascope --help", seconds(middle), "–", "–", "≤ 1 s", middle <= 1, "median of 5 processes")
