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

N_PAIRS = 60


def training_step_rows() -> list[Row]:
    """Against plain SDPA, and against Hugging Face's GPT2Model, at the size of the preset decoder-d5."""
    preset = read_preset("decoder-d5")
    assert isinstance(preset.training, TokenTraining)
    model, cfg = HookedRegressor(preset.model), preset.model
    _stir(model)
    task = preset.task.model_copy(update={"n_points": cfg.n_points})
    prompts = task.sample(preset.training.batch_size, seed=0)
    size = f"{cfg.n_layers} layers, d_model {cfg.d_model}, {2 * cfg.n_points} tokens, batch {len(prompts)}"
    return [
        _row("hooked training step / SDPA without hooks", model, PlainDecoder(model), prompts, 1.05, size),
        _row("hooked training step / GPT2Model", model, HuggingFaceDecoder(model), prompts, 0.9, size),
    ]


def _row(name: str, model: HookedRegressor, other: Decoder, prompts: Prompts, target: float, size: str) -> Row:
    difference = (model(prompts.xs, prompts.ys) - other(prompts.xs, prompts.ys)).abs().max().item()
    assert difference < 1e-5, f"{name}: outputs differ by {difference:.1e}, so this compares two different models"
    pairs = paired(_step(model, prompts), _step(other, prompts), N_PAIRS, warm_up=5)
    notes = f"{size}; outputs equal to {difference:.0e}; median of {N_PAIRS} pairs"
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
