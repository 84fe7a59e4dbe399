"""All moments of a readout against one GEMM, and memory against the number of prompts."""

import subprocess
import sys
from pathlib import Path

import torch
from row import Row, skipped
from timing import paired

from mesascope.probes import Moments

N_ROWS, D_Y = 40_000, 3
N_PAIRS = 25


def moments_rows() -> list[Row]:
    """At two widths, then memory."""
    return [_gemm_row(64), _gemm_row(256), _memory_row()]


def _gemm_row(d_model: int) -> Row:
    rng = torch.Generator().manual_seed(0)
    resid = torch.randn(N_ROWS, d_model, generator=rng)
    y = torch.randn(N_ROWS, D_Y, generator=rng, dtype=torch.float64)
    Z = torch.cat([resid.double(), y, torch.ones(N_ROWS, 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(Moments.of(resid, y).products, Z.T @ Z, rtol=1e-12, atol=1e-8)
    pairs = paired(lambda: Moments.of(resid, y), lambda: Z.T @ Z, N_PAIRS, warm_up=2)
    notes = f"{N_ROWS:,} float32 rows, {D_Y} targets and nulls; Z = [h, y, 1] is float64 before the clock starts"
    return Row(
        f"moments of a readout, d_model {d_model} / one GEMM ZᵀZ",
        **pairs.text,
        target="≤ 1.2×",
        reached=pairs.ratio <= 1.2,
        notes=notes,
    )


_PEAK = """
import sys
from mesascope.analyses import attach, fit_readouts
from mesascope.models import HookedRegressor
from mesascope.models.training.presets import read_preset
preset = read_preset("decoder-d5")
fit_readouts(attach(HookedRegressor(preset.model), task=preset.task), n_prompts=int(sys.argv[1]))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["VmHWM"].split()[0])
"""


def _memory_row(few: int = 20_000, factor: int = 4) -> Row:
    name, target = f"peak memory of fit_readouts, {factor}× the prompts", "≤ 1.02×"
    # VmHWM, not ru_maxrss: the latter starts from the parent's peak, because it survives fork and exec.
    if not Path("/proc/self/status").exists():
        return skipped(name, target, "needs Linux' /proc")
    small, large = (_peak_megabytes(n) for n in (few, factor * few))
    return Row(
        name,
        f"{large:.0f} MB",
        f"{small:.0f} MB",
        f"{large / small:.3f}",
        target,
        large / small <= 1.02,
        f"whole processes at {factor * few:,} and {few:,} prompts; the activations of the difference would be "
        f"{(factor - 1) * few * 20 * 8 * 64 * 4 / 1e6:,.0f} MB",
    )


def _peak_megabytes(n_prompts: int) -> float:
    command = [sys.executable, "-c", _PEAK, str(n_prompts)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1000
