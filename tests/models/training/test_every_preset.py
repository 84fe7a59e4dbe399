"""What holds for every bundled preset; those of full size are trained on a reduced batch."""

import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from mesascope.models import HookedRegressor, load, train
from mesascope.models.training import GramTraining, held_out
from mesascope.models.training.presets import preset_names, read_preset

every_preset = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if "/full" in name else name for name in preset_names()],
)
SMALL_GRAM = dict(
    n_fit=64,
    n_starts=1,
    n_rounds=1,
    joint_steps=(0, 1),
    batch_size=64,
    polish_batch=64,
    polish_curvature=32,
    polish_pool=256,
)


def preset(name) -> Any:
    """A preset; its task and training are unions, whose members its name fixes."""
    return read_preset(name)


def reduced(name):
    """The preset's ten first steps, on two prompts each."""
    config = preset(name)
    fields = SMALL_GRAM if isinstance(config.training, GramTraining) else {"batch_size": 2}
    training = config.training.model_copy(update={"n_steps": 10, **fields})
    return config.model_copy(update={"training": training})


@every_preset
def test_every_preset_trains_ten_steps_and_leaves_a_run_folder_that_loads(name, monkeypatch):
    monkeypatch.setattr(held_out, "N_PROMPTS", 4)
    config, losses = reduced(name), []
    # Full-size runs leave a gigabyte: it is not kept in pytest's folders.
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        model = train(config, out, on_step=lambda step, record: losses.append(record["loss"]))
        loaded = load(out)
        first = load(out / "checkpoints" / "step_0.safetensors").model
    assert len(losses) == 10 and all(math.isfinite(loss) for loss in losses)
    assert loaded.model.cfg == config.model and loaded.task == config.task
    assert loaded.model.weights.keys() == model.weights.keys()
    assert all(torch.equal(weight, model.weights[key]) for key, weight in loaded.model.weights.items())
    assert any(not torch.equal(weight, model.weights[key]) for key, weight in first.weights.items())


def count(name):
    return sum(weight.numel() for weight in HookedRegressor(preset(name).model).weights.values())


@pytest.mark.parametrize(
    "name, millions, rel", [("fu2024/full", 9.5, 0.01), ("fu2024/full-lstm", 5.3, 0.02)], ids=["decoder", "lstm"]
)
def test_models_of_full_size_have_the_published_number_of_weights(name, millions, rel):
    assert count(name) == pytest.approx(millions * 1e6, rel=rel)


def test_the_full_decoders_weights_add_up_to_gpt2s():
    """12 blocks of 12 d² + 13 d, positions for 202 tokens, read-in, final norm, read-out."""
    d = 256
    assert count("fu2024/full") == 12 * (12 * d * d + 13 * d) + 202 * d + 21 * d + 2 * d + (d + 1)


def test_the_full_lstms_weights_add_up_to_pytorchs():
    d = 256
    assert count("fu2024/full-lstm") == 10 * (8 * d * d + 8 * d) + 21 * d + (d + 1)


@pytest.mark.parametrize("name", [name for name in preset_names() if name.startswith("fu2024/full")])
def test_presets_of_full_size_train_as_published(name):
    """Garg et al. (2022): Adam 1e-4 without schedule, batch 64, 500,001 steps, curricula 5 → 20 and 11 → 41."""
    config = preset(name)
    training = config.training
    assert (training.optimizer, training.lr, training.schedule, training.warmup) == ("adam", 1e-4, "constant", 0)
    assert (training.batch_size, training.n_steps, training.n_extra_points) == (64, 500_001, 0)
    grown = [
        (training.curriculum.dims(index, 20), training.curriculum.points(index, 41))
        for index in (0, 1999, 2000, 29_999, 30_000, 500_000)
    ]
    assert grown == [(5, 11), (5, 11), (6, 13), (19, 39), (20, 41), (20, 41)]
    model = config.model
    assert (config.task.n_dims, config.task.n_points, model.d_model) == (20, 41, 256)
    assert model.n_layers == (10 if model.block == "lstm" else 12)


def test_the_variants_of_a_preset_differ_from_it_in_what_they_are_named_for():
    plain = preset("fu2024/full")
    noisy, ill = preset("fu2024/full-noisy"), preset("fu2024/full-ill-conditioned")
    assert noisy.model == ill.model == plain.model and noisy.training == ill.training == plain.training
    assert noisy.task == plain.task.model_copy(update={"noise_std": 0.1})
    eigenvalues = ill.task.inputs.spectrum.sample(1, 20, torch.Generator())[0]
    assert (eigenvalues.max() / eigenvalues.min()).item() == pytest.approx(100)
    assert ill.task.inputs.basis == "prompt" and ill.task.noise_std == 0


@pytest.mark.parametrize("width, d_head", [(8, 4), (16, 4), (32, 8), (64, 16)])
def test_the_ablation_of_widths_changes_the_width_alone(width, d_head):
    config, base = preset(f"fu2024/width-{width}"), preset("fu2024/isotropic")
    assert (config.model.d_model, config.model.d_head, config.model.d_mlp) == (width, d_head, 4 * width)
    sizes = {"n_heads": 0, "d_model": 0, "d_head": 0, "d_mlp": 0}
    assert config.model.model_copy(update=sizes) == base.model.model_copy(update=sizes)
    assert (config.task, config.training) == (base.task, base.training)


def test_the_sine_twin_differs_in_its_attention_alone():
    trained, frozen = preset("vonoswald/sine"), preset("vonoswald/sine-gd")
    assert frozen.model == trained.model.model_copy(update={"attention": ("none", "gradient_step")})
    assert (frozen.task, frozen.training) == (trained.task, trained.training)
    weights = HookedRegressor(frozen.model).weights
    assert [name for name in weights if "attn" in name] == ["blocks.1.attn.eta"]
