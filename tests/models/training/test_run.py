import json

import pytest
import torch

from mesascope.models import (
    HookedRegressor,
    LinearRegression,
    MesascopeError,
    RegressorConfig,
    RunConfig,
    load,
    save,
    train,
)
from mesascope.models.training import GramTraining, TokenTraining
from tests.conftest import tiny

TASK = LinearRegression(n_dims=2, n_points=5)
DECODER = RegressorConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8, d_head=4, d_mlp=8)
RUNS = {
    "tokens": RunConfig(about="a", model=DECODER, task=TASK, training=TokenTraining(n_steps=11, batch_size=4), seed=3),
    "gram": RunConfig(
        about="a",
        model=RegressorConfig.linear_self_attention(2, 5, 2),
        task=TASK,
        training=GramTraining(n_steps=11, batch_size=4),
        seed=3,
    ),
}
every_trainer = pytest.mark.parametrize("config", RUNS.values(), ids=RUNS.keys())


def predictions(model):
    prompts = TASK.sample(4, seed=0)
    return model(prompts.xs, prompts.ys).detach()


@every_trainer
def test_a_run_folder_has_config_weights_log_and_checkpoints_on_a_log_grid(config, tmp_path):
    model = train(config, tmp_path / "run")
    files = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    grid = {f"checkpoints/step_{step}.safetensors" for step in (0, 1, 2, 4, 8, 11)}
    assert files == {"config.json", "model.safetensors", "log.jsonl", "trainer.pt"} | grid
    assert RunConfig.model_validate_json((tmp_path / "run" / "config.json").read_text()) == config
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 12))
    assert all(line.keys() == {"step", "loss", "held_out", "excess", "seconds"} for line in log)
    assert not model.training


@every_trainer
def test_what_is_loaded_predicts_what_was_trained(config, tmp_path):
    model = train(config, tmp_path / "run")
    assert torch.equal(predictions(load(tmp_path / "run").model), predictions(model))


@every_trainer
def test_the_same_config_gives_the_same_bits_and_another_seed_does_not(config, tmp_path):
    for name, run in [("a", config), ("b", config), ("c", config.model_copy(update={"seed": 4}))]:
        train(run, tmp_path / name)
    first, same, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first == same != other


@every_trainer
def test_every_step_is_reported_with_the_newest_record(config, tmp_path):
    seen = []
    train(config, tmp_path / "run", on_step=lambda step, record: seen.append((step, dict(record))))
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert seen == [(line["step"], line) for line in log]


@every_trainer
@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_a_killed_run_is_a_readable_run_folder_with_its_last_checkpoint(config, tmp_path, stop):
    def kill(step, record):
        if step == 6:
            raise stop

    with pytest.raises(stop):
        train(config, tmp_path / "killed", on_step=kill)
    train(config, tmp_path / "whole")
    weights = (tmp_path / "killed" / "model.safetensors").read_bytes()
    assert weights == (tmp_path / "whole" / "checkpoints" / "step_4.safetensors").read_bytes()
    assert load(tmp_path / "killed").seed == 3


@every_trainer
def test_a_folder_with_a_run_is_refused_and_left_as_it_is(config, tmp_path):
    train(config, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(MesascopeError, match="already holds a run"):
        train(config, tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_folder_that_cannot_be_written_is_refused_before_any_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MesascopeError, match="cannot write"):
        train(RUNS["tokens"], tmp_path / "file" / "run", on_step=lambda *_: pytest.fail("it trained"))


@pytest.mark.parametrize("lr", [1e20, 3e38])
def test_a_diverging_run_says_so_and_leaves_the_last_good_checkpoint(tmp_path, lr):
    training = TokenTraining(n_steps=50, batch_size=4, lr=lr, adamw_lr=min(lr, 1e30), warmup=0)
    config = RUNS["tokens"].model_copy(update={"training": training})
    with pytest.raises(MesascopeError, match=r"diverged at step \d+ .*Lower training.lr"):
        train(config, tmp_path / "run")
    loaded = load(tmp_path / "run")  # which refuses NaN and infinite weights
    assert all(weight.isfinite().all() for weight in loaded.model.parameters())
    for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines():
        assert all(abs(value) < float("inf") for value in json.loads(line).values())


@pytest.mark.parametrize(
    "per_doubling, grid", [(1, [0, 1, 2, 4, 8, 16, 32, 64, 69]), (2, [0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 69])]
)
def test_the_grid_of_checkpoints_is_logarithmic_and_ends_with_the_last_step(per_doubling, grid):
    config = RUNS["tokens"].model_copy(
        update={"checkpoints_per_doubling": per_doubling, "training": TokenTraining(n_steps=69)}
    )
    assert [step for step in range(70) if config.keeps(step)] == grid


def test_a_run_without_training_cannot_be_trained(tmp_path):
    with pytest.raises(MesascopeError, match="the run has no `training`; add one"):
        train(RUNS["tokens"].model_copy(update={"training": None}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_saved_is_the_model_loaded(tmp_path):
    model = HookedRegressor(DECODER, seed=7)
    save(model, tmp_path / "run", TASK, about="Made by hand.")
    loaded = load(tmp_path / "run")
    assert torch.equal(predictions(loaded.model), predictions(model))
    assert (loaded.task, loaded.about, loaded.seed, loaded.model.cfg) == (TASK, "Made by hand.", 7, DECODER)
    with pytest.raises(MesascopeError, match="already holds a run"):
        save(model, tmp_path / "run", TASK)


@pytest.mark.parametrize("device", ["banana", "meta"])
def test_a_device_that_is_not_there_is_refused_before_a_folder_is_made(tmp_path, device):
    with pytest.raises(MesascopeError, match=f"cannot use device '{device}'"):
        train(tiny(), tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()


def test_a_trainer_that_does_not_fit_leaves_no_folder(tmp_path):
    config = tiny()
    config = config.model_copy(update={"model": config.model.model_copy(update={"n_heads": 2})})
    with pytest.raises(MesascopeError, match="trainer 'gram' is exact only for"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
