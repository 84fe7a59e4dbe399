"""A hooked training step (forward, backward, no optimizer) against the same decoder without hooks."""

from collections.abc import Callable
from statistics import median

import torch
from baselines import Decoder, HuggingFaceDecoder, PlainDecoder
from row import Row
from timing import paired
from torch import nn

from mesascope.models import HookedRegressor, Prompts
from mesascope.models.training import TokenTraining
from mesascope.models.training.presets import read_preset

SIZES = {"decoder-d5": 60, "fu2024/full": 5}
"""Presets at whose size a step is timed, and how many pairs."""


def training_step_rows() -> list[Row]:
    """Against plain SDPA, and against Hugging Face's GPT2Model, at small and at full size."""
    return [row for preset, n_pairs in SIZES.items() for row in _rows(preset, n_pairs)]


def _rows(name: str, n_pairs: int) -> list[Row]:
    preset = read_preset(name)
    assert isinstance(preset.training, TokenTraining)
    n_points = preset.task.n_points + preset.training.n_extra_points
    cfg = preset.model.model_copy(update={"n_points": n_points})
    model = HookedRegressor(cfg)
    _stir(model)
    prompts = preset.task.model_copy(update={"n_points": n_points}).sample(preset.training.batch_size, seed=0)
    size = f"{cfg.n_layers} layers, d_model {cfg.d_model}, {2 * n_points} tokens, batch {len(prompts)}"
    return [
        _row(
            f"hooked training step / SDPA without hooks, {name}",
            model,
            PlainDecoder(model),
            prompts,
            1.05,
            size,
            n_pairs,
        ),
        _row(
            f"hooked training step / GPT2Model, {name}", model, HuggingFaceDecoder(model), prompts, 0.9, size, n_pairs
        ),
    ]


def _row(
    name: str, model: HookedRegressor, other: Decoder, prompts: Prompts, target: float, size: str, n_pairs: int
) -> Row:
    difference = (model(prompts.xs, prompts.ys) - other(prompts.xs, prompts.ys)).abs().max().item()
    assert difference < 1e-4, f"{name}: outputs differ by {difference:.1e}, so this compares two different models"
    pairs = paired(_step(model, prompts), _step(other, prompts), n_pairs, warm_up=1)
    rate = 2 * prompts.ys.numel() / median(pairs.ours)
    notes = f"{size}; {rate:,.0f} tokens/s; outputs equal to {difference:.0e}; median of {n_pairs} pairs"
    return Row(name, **pairs.text, target=f"≤ {target}×", reached=median(pairs.ratios) <= target, notes=notes)


@torch.no_grad()
def _stir(model: HookedRegressor) -> None:
    """Move every parameter off its initial value: equal outputs mean little while biases are zero."""
    rng = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))


def _step(model: nn.Module, prompts: Prompts) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(model(prompts.xs, prompts.ys), prompts.ys).backward()

    return step
