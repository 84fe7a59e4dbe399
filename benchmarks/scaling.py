"""One process against two: a sweep over checkpoints, and the prompts of one readout under torchrun."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from row import Row
from timing import elapsed, paired, seconds

from mesascope.analyses.sweep.processes import n_cores

SPECIMENS = ["zoo:lsa-*", "zoo:preconditioned*", "zoo:softmax-heads", "zoo:sine*", "zoo:separate-tokens-seed1"]
"""Twenty checkpoints."""
N_PAIRS, N_PROMPTS, N_READOUT_PROMPTS = 2, 2_000, 200_000
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
"""So that two processes are compared with one, and not two threads with two."""


def scaling_rows() -> list[Row]:
    """A sweep's seconds, then a readout's seconds and its equality."""
    return [_sweep_row(), _readout_row()]


def _sweep_row() -> Row:
    with tempfile.TemporaryDirectory() as folder:
        pairs = paired(lambda: _sweep(1, folder), lambda: _sweep(2, folder), N_PAIRS, warm_up=0)
        rows = json.loads((Path(folder) / "summary.json").read_text())["analyses"]["sweep"]["data"]["rows"]
    text = pairs.text
    return Row(
        f"sweep of {len(rows)} zoo checkpoints, two processes / one",
        text["other"],
        text["ours"],
        f"{text['ratio']}× faster",
        "≥ 1.7× faster",
        pairs.ratio >= 1.7,
        f"default analyses, {N_PROMPTS:,} prompts, one thread a process, start and report included; {n_cores()} cores, "
        f"{N_PAIRS} pairs",
    )


def _sweep(n_jobs: int, folder: str) -> None:
    shutil.rmtree(folder)
    command = ["sweep", *SPECIMENS, "--out", folder, "--jobs", str(n_jobs), "--prompts", str(N_PROMPTS)]
    _run([sys.executable, "-m", "mesascope", *command])


def _readout_row() -> Row:
    probe = ["-m", "mesascope", "probe", "zoo:decoder-d5", "--prompts", str(N_READOUT_PROMPTS), "--json"]
    one, two = (
        [sys.executable, *probe],
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *probe],
    )
    found = [json.loads(_run(command))["data"]["layers"] for command in (one, two)]
    apart = max(
        abs(a[name]["value"] - b[name]["value"])
        for a, b in zip(*found, strict=True)
        for name in ("r2", "shuffled", "mismatched", "untrained")
    )
    times = [elapsed(partial(_run, command)) for command in (one, two)]
    return Row(
        f"readouts of zoo:decoder-d5 on {N_READOUT_PROMPTS:,} prompts, torchrun with two processes / one",
        seconds(times[1]),
        seconds(times[0]),
        f"{times[0] / times[1]:.2f}× faster",
        "R² equal to 1e-10",
        apart <= 1e-10,
        f"R² and nulls of every layer equal to {apart:.0e}; one thread a process, start included",
    )


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env=ONE_THREAD).stdout
