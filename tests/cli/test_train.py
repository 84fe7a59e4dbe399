import json
import os
import shlex
import signal
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mesascope import __version__
from mesascope.models import RunConfig, load
from mesascope.models.training import GramTrainer
from mesascope.models.training.presets import preset_names, read_preset

from .conftest import is_one_line_error


def test_train_leaves_a_run_folder_that_says_how_it_was_made(run, preset, tmp_path):
    code, out, err = run("train", preset, "--out", tmp_path / "run")
    assert (code, out, err) == (0, f"{tmp_path / 'run'}\n", "")
    config = RunConfig.model_validate_json((tmp_path / "run" / "config.json").read_text())
    assert config.version == __version__
    assert config.command == shlex.join(["mesascope", "train", str(preset), "--out", str(tmp_path / "run")])
    assert load(tmp_path / "run").seed == 0
    assert (tmp_path / "run" / "checkpoints" / "step_3.safetensors").is_file()


def test_seed_and_steps_overrule_the_preset(run, preset, tmp_path):
    code, _, _ = run("train", preset, "--out", tmp_path / "run", "--seed", "7", "--steps", "2")
    assert code == 0
    config = RunConfig.model_validate_json((tmp_path / "run" / "config.json").read_text())
    assert config.seed == 7 and config.training is not None and config.training.n_steps == 2
    assert not (tmp_path / "run" / "checkpoints" / "step_3.safetensors").exists()


def test_train_refuses_a_folder_that_holds_a_run(run, preset, tiny_run):
    before = (tiny_run / "model.safetensors").read_bytes()
    code, _, err = run("train", preset, "--out", tiny_run)
    assert code == 1 and is_one_line_error(err, "already holds a run; continue it with --resume, choose another --out")
    assert (tiny_run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "name, parts",
    [
        (preset_names()[0][:-1], [f"did you mean '{preset_names()[0]}'?"]),
        ("not/there.yaml", ["cannot read not/there.yaml"]),
    ],
)
def test_an_unknown_preset_is_one_line_with_the_nearest_name(run, tmp_path, name, parts):
    code, _, err = run("train", name, "--out", tmp_path / "run")
    assert code == 1 and is_one_line_error(err, *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "change, part",
    [
        (lambda config: config["training"].update(n_steps=0), "training.gram.n_steps"),
        (lambda config: config.update(modle=1), "modle"),
        (lambda config: config.pop("model"), "model"),
        (lambda config: config.pop("training"), "training"),
    ],
    ids=["value", "unknown field", "missing field", "no training"],
)
def test_a_preset_that_is_no_run_is_one_line_that_names_the_field(run, preset, tmp_path, change, part):
    config = json.loads(preset.read_text())
    change(config)
    preset.write_text(json.dumps(config))
    code, _, err = run("train", preset, "--out", tmp_path / "run")
    assert code == 1 and is_one_line_error(err, part)
    assert not (tmp_path / "run").exists()


def at_step(monkeypatch: pytest.MonkeyPatch, index: int, happens: Callable[[], None]) -> None:
    """Let something happen while step number `index` (from 0) is taken."""
    step = GramTrainer.step

    def stepped(self: GramTrainer, at: int) -> torch.Tensor:
        if at == index:
            happens()
        return step(self, at)

    monkeypatch.setattr(GramTrainer, "step", stepped)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_finishes_its_step_and_can_be_resumed(run, preset, tmp_path, monkeypatch, which):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 1, lambda: os.kill(os.getpid(), which))
        code, stdout, err = run("train", preset, "--out", out)
    assert code == 1 and stdout == ""
    assert err == f"stopped; {out} is saved at step 2: continue with --resume\n"
    assert load(out).model.cfg.n_dims == 2
    assert not list(out.glob(".*"))  # nothing half-written
    assert run("train", preset, "--out", out, "--resume") == (0, f"{out}\n", "")
    assert run("train", preset, "--out", tmp_path / "whole")[0] == 0
    assert weights(out) == weights(tmp_path / "whole")


@pytest.fixture
def in_a_shell():
    """Ctrl-C raises KeyboardInterrupt, which a worker of pytest-xdist may ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_takes_effect_at_once_and_says_what_was_saved(run, preset, in_a_shell, tmp_path, monkeypatch):
    def impatient() -> None:
        before = signal.getsignal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        while signal.getsignal(signal.SIGINT) == before:  # two that Python has not yet noticed become one
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)

    at_step(monkeypatch, 2, impatient)
    code, _, err = run("train", preset, "--out", tmp_path / "run")
    # Three steps: 0, 1, 2 and 3 are on the grid.
    assert code == 1 and err == f"stopped; {tmp_path / 'run'} is saved at step 2: continue with --resume\n"


def test_ctrl_c_before_there_is_a_run_saves_nothing(run, preset, tmp_path, monkeypatch):
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(GramTrainer, "__init__", interrupted)
    code, out, err = run("train", preset, "--out", tmp_path / "run")
    assert (code, out, err) == (1, "", "stopped before the first step\n")
    assert not (tmp_path / "run").exists()


def test_resume_starts_a_run_where_there_is_none_and_ends_one_that_is_done(run, preset, tmp_path):
    out = tmp_path / "run"
    assert run("train", preset, "--out", out, "--resume") == (0, f"{out}\n", "")
    before = weights(out)
    assert run("train", preset, "--out", out, "--resume") == (0, f"{out}\n", "")
    assert weights(out) == before


@pytest.mark.parametrize(
    "options, part",
    [
        (["--seed", "1"], "seed=0, not 1; resume with the same config"),
        (["--steps", "4"], "training.n_steps=3, not 4; resume with the same config"),
    ],
)
def test_a_run_is_not_resumed_as_another_one(run, preset, tmp_path, options, part):
    assert run("train", preset, "--out", tmp_path / "run")[0] == 0
    before = weights(tmp_path / "run")
    code, out, err = run("train", preset, "--out", tmp_path / "run", "--resume", *options)
    assert code == 1 and out == "" and is_one_line_error(err, part)
    assert weights(tmp_path / "run") == before


def test_training_that_diverges_is_one_line_and_keeps_the_last_good_checkpoint(run, preset, tmp_path, monkeypatch):
    monkeypatch.setattr(GramTrainer, "step", lambda self, index: torch.tensor(torch.nan))
    code, out, err = run("train", preset, "--out", tmp_path / "run")
    assert code == 1 and out == "" and is_one_line_error(err, "training diverged at step 1", "Lower training.lr")
    assert load(tmp_path / "run").model.cfg.n_dims == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_one_line_and_leaves_what_was_saved(run, preset, tmp_path, monkeypatch):
    log = tmp_path / "run" / "log.jsonl"

    def fills() -> None:
        log.unlink()
        log.symlink_to("/dev/full")

    with monkeypatch.context() as patch:
        at_step(patch, 2, fills)
        code, out, err = run("train", preset, "--out", tmp_path / "run")
    assert code == 1 and out == ""
    assert is_one_line_error(err, f"cannot write {log}: No space left on device", "free space")
    assert load(tmp_path / "run").model.cfg.n_dims == 2
    log.unlink()
    assert run("train", preset, "--out", tmp_path / "run", "--resume")[0] == 0


def test_a_process_that_is_not_the_first_says_nothing(run, preset, tmp_path, monkeypatch):
    from mesascope import models

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    seen = []
    monkeypatch.setattr(models, "train", lambda config, out, **options: seen.append(options["trackers"]))
    found = run("train", preset, "--out", tmp_path / "run", "--tensorboard", "--wandb", "project")
    assert found == (0, "", "") and seen == [[]]
    assert not (tmp_path / "run").exists()


def test_wandb_that_cannot_start_is_one_line(run, preset, tmp_path, monkeypatch):
    def refuse(**options):
        raise ValueError("No API key\nconfigured.")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(Error=ValueError, init=refuse))
    code, out, err = run("train", preset, "--out", tmp_path / "run", "--wandb", "project")
    assert code == 1 and out == "" and is_one_line_error(err, "Weights & Biases cannot start (No API key configured.)")


def test_tensorboard_has_the_records_of_the_log(run, preset, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    out = tmp_path / "run"
    assert run("train", preset, "--out", out, "--tensorboard")[:2] == (0, f"{out}\n")
    assert list((out / "tensorboard").glob("events.out.tfevents.*"))
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert {"loss", "held_out", "excess"} <= set(events.Tags()["scalars"])
    losses = [(event.step, event.value) for event in events.Scalars("loss")]
    assert losses == [(record["step"], pytest.approx(record["loss"])) for record in records]


@pytest.mark.parametrize(
    "option, module", [(["--wandb", "project"], "wandb"), (["--tensorboard"], "torch.utils.tensorboard")]
)
def test_a_tracker_that_is_not_installed_is_one_line(run, preset, tmp_path, monkeypatch, option, module):
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = run("train", preset, "--out", tmp_path / "run", *option)
    assert code == 1 and out == ""
    assert is_one_line_error(err, f"{option[0].strip('-')} is not installed", "mesascope[track]")
    assert not (tmp_path / "run").exists()


def test_wandb_gets_the_config_and_the_records(run, preset, tmp_path, monkeypatch):
    class Wandb(types.ModuleType):
        def __init__(self) -> None:
            super().__init__("wandb")
            self.Error = RuntimeError
            self.started: dict[str, Any] = {}
            self.logged: list[int] = []
            self.finished = False

        def init(self, **options: object) -> "Wandb":
            self.started = options
            return self

        def log(self, values: dict[str, float], step: int) -> None:
            self.logged.append(step)

        def finish(self) -> None:
            self.finished = True

    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    assert run("train", preset, "--out", tmp_path / "run", "--wandb", "mine")[0] == 0
    assert wandb.started["project"] == "mine" and wandb.started["config"]["training"]["n_steps"] == 3
    assert wandb.logged == [1, 2, 3] and wandb.finished


def test_presets_lists_every_preset_with_what_it_is(run):
    code, out, err = run("presets")
    assert code == 0 and err == ""
    words = set(out.split())
    assert set(preset_names()) <= words
    for name in preset_names():
        assert set(read_preset(name).about.split()) <= words
