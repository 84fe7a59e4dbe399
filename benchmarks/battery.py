"""Newton at k = 1 … 23 and GD at 2^0 … 2^12 steps on every prefix: one decomposition against step by step."""

import torch
from jaxtyping import Float
from row import Row
from timing import paired
from torch import Tensor

from mesascope.models import GradientDescent, LinearRegression, Newton, Prompts
from mesascope.models.battery import battery
from mesascope.models.learners.base import Sweep

NEWTON_STEPS = tuple(range(1, 24))
GD_STEPS = tuple(2**j for j in range(13))
ETA = 0.01
SWEEPS = (Sweep(Newton(NEWTON_STEPS[-1]), NEWTON_STEPS), Sweep(GradientDescent(GD_STEPS[-1], ETA, "sum"), GD_STEPS))
TIMED_PROMPTS = 2
TIMED_POINTS = (4, 12, 20, 29, 37)
"""Prefixes on which the loop is timed; on average as long as all of 1 … 40."""


def battery_rows() -> list[Row]:
    """B=64, n=41, d=20, float64, as in Fu et al. (2024)."""
    prompts = LinearRegression(n_dims=20, n_points=41).sample(64, seed=0, dtype=torch.float64)
    few = prompts[:TIMED_PROMPTS]
    error = (_filters(few)[..., list(TIMED_POINTS)] - _loop(few)).abs().amax((1, 2))
    late = NEWTON_STEPS.index(20) + 1
    early = torch.cat([error[:late], error[len(NEWTON_STEPS) :]]).max().item()
    above = error[late : len(NEWTON_STEPS)].max().item()
    assert early < 1e-9 and above < 1e-8, f"the loop and the filters differ by {early:.1e} (k ≤ 20, GD), {above:.1e}"

    scale = len(prompts) * (prompts.n_points - 1) / (TIMED_PROMPTS * len(TIMED_POINTS))
    # A fresh Prompts each time, so that its decomposition is part of what is timed.
    pairs = paired(lambda: _filters(Prompts(prompts.xs, prompts.ys)), lambda: _loop(few), n_pairs=5, scale=scale)
    text = pairs.text
    speedups = sorted(1 / ratio for ratio in pairs.ratios)
    text["ratio"] = f"{1 / pairs.ratio:.4g}× faster [{speedups[0]:.4g}, {speedups[-1]:.4g}]"
    return [
        Row(
            "battery of Newton and GD, every prefix / step by step",
            **text,
            target="≥ 1000× faster",
            reached=1 / pairs.ratio >= 1000,
            notes=f"decomposition included; the loop timed on {TIMED_PROMPTS} prompts × {len(TIMED_POINTS)} prefixes "
            f"and multiplied by {scale:.0f}; equal to {early:.0e} (k ≤ 20, GD) and {above:.0e} (k > 20)",
        )
    ]


def _filters(prompts: Prompts) -> Float[Tensor, "n_learners batch n_points"]:
    return battery(prompts, SWEEPS)[1]


def _loop(prompts: Prompts) -> Float[Tensor, "n_learners batch n_timed"]:
    """The published structure: each step count anew, prefix by prefix, prompt by prompt, step by step."""
    preds = torch.zeros(len(NEWTON_STEPS) + len(GD_STEPS), len(prompts), len(TIMED_POINTS), dtype=torch.float64)
    for learner, k in enumerate((*NEWTON_STEPS, *GD_STEPS)):
        solve = _newton if learner < len(NEWTON_STEPS) else _gradient_descent
        for column, point in enumerate(TIMED_POINTS):
            for row in range(len(prompts)):
                w = solve(prompts.xs[row, :point], prompts.ys[row, :point], k)
                preds[learner, row, column] = prompts.xs[row, point] @ w
    return preds


def _newton(xs: Float[Tensor, "t n_dims"], ys: Float[Tensor, " t"], k: int) -> Float[Tensor, " n_dims"]:
    S = xs.T @ xs
    M = S / torch.linalg.norm(S @ S.T)
    eye = torch.eye(len(S), dtype=S.dtype)
    for _ in range(k):
        M = M @ (2 * eye - S @ M)
    return M @ (xs.T @ ys)


def _gradient_descent(xs: Float[Tensor, "t n_dims"], ys: Float[Tensor, " t"], k: int) -> Float[Tensor, " n_dims"]:
    w = torch.zeros(xs.shape[1], dtype=xs.dtype)
    for _ in range(k):
        w = w - ETA * ((xs.T @ xs) @ w - xs.T @ ys)  # the Gram matrix anew at every step, as published
    return w
