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
    notes = (
        f"{N_ROWS:,} rows, float32 activations and {D_Y} float64 targets and nulls; Z = [h, y, 1] is float64 before "
        "the clock starts"
    )
    return Row(
        f"moments of a readout, d_model {d_model} / one GEMM ZᵀZ",
        **pairs.text,
        target="≤ 1.2×",
        reached=pairs.ratio <= 1.2,
        notes=notes,
    )


_PEAK = """
import sys
from mesascope.models import HookedRegressor
from mesascope.models.training.presets import read_preset
from mesascope.probes import Moments, capture

preset, n_prompts, size = read_preset("decoder-d5"), int(sys.argv[1]), 100
model, moments = HookedRegressor(preset.model), {}
batches = (preset.task.sample(size, seed=0, start=start) for start in range(0, n_prompts, size))
for batch in capture(model, batches, model.residual_hooks, read_only=True):
    y = batch.prompts.ys.flatten(0, 1)[:, None]
    for hook, resid in batch.activations.items():
        moments.setdefault(hook, Moments.zeros(resid.shape[-1], 1)).update(resid.flatten(0, 1), y)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(status["VmHWM"].split()[0], sum(m.n.item() * m.d_h for m in moments.values()))
"""


def _memory_row(few: int = 4_000, factor: int = 4) -> Row:
    name, target = f"peak memory of capture and Moments, {factor}× the prompts / once", "≤ 1.05×"
    # VmHWM, not ru_maxrss: the latter starts from the parent's peak, because it survives fork and exec.
    if not Path("/proc/self/status").exists():
        return skipped(name, target, "needs Linux' /proc")
    (small, few_floats), (large, many_floats) = (_peak(n) for n in (few, factor * few))
    return Row(
        name,
        f"{large:.0f} MB",
        f"{small:.0f} MB",
        f"{large / small:.3f}",
        target,
        large / small <= 1.05,
        f"whole processes on {factor * few:,} and {few:,} prompts, every layer of decoder-d5; had they kept the "
        f"activations, the difference would be {(many_floats - few_floats) * 4 / 1e6:,.0f} MB",
    )


def _peak(n_prompts: int) -> tuple[float, float]:
    """Peak memory in MB, and how many numbers were captured."""
    command = [sys.executable, "-c", _PEAK, str(n_prompts)]
    kilobytes, floats = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(kilobytes) / 1000, float(floats)
