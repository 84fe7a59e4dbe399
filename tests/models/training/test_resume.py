"""A run that was stopped, politely or not, ends as if it never had been."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from mesascope.models import LinearRegression, MesascopeError, RegressorConfig, RunConfig, load, train
from mesascope.models.training import GramTraining, TokenTraining
from mesascope.models.training.checkpoints import RunFolder
from mesascope.models.training.curriculum import Curriculum, Growth

TASK = LinearRegression(n_dims=2, n_points=6)
GROWING = Curriculum(n_dims=Growth(start=1, every=7), n_points=Growth(start=2, step=2, every=9))
DECODER = RegressorConfig(n_dims=2, n_points=6, n_layers=2, n_heads=2, d_model=8, d_mlp=8)
LSA = RegressorConfig.linear_self_attention(2, 6, 2)
RUNS = {
    "muon": RunConfig(model=DECODER, task=TASK, training=TokenTraining(n_steps=40, batch_size=4, curriculum=GROWING)),
    "adam": RunConfig(
        model=DECODER,
        task=TASK,
        training=TokenTraining(n_steps=40, batch_size=4, optimizer="adam", lr=1e-3, clip_norm=0.1, schedule="constant"),
    ),
    "gram": RunConfig(
        model=LSA, task=TASK, training=GramTraining(n_steps=40, n_fit=64, batch_size=16, polish_pool=200)
    ),
}
every_trainer = pytest.mark.parametrize("config", RUNS.values(), ids=RUNS.keys())


def files(folder):
    """Everything in a run folder that must not depend on how often it was stopped."""
    found = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.safetensors")}
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return found, [{key: value for key, value in record.items() if key != "seconds"} for record in log]


def stop_at(when, how):
    def on_step(step, record):
        if step == when:
            how()

    return on_step


def crash():
    raise RuntimeError("crash")


@pytest.fixture(scope="module", params=list(RUNS.values()), ids=list(RUNS))
def whole(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(request.param, folder)
    return request.param, folder


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_run_asked_to_stop_saves_its_step_and_continues_to_the_same_bits(whole, tmp_path, signum):
    config, folder = whole
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", on_step=stop_at(21, lambda: os.kill(os.getpid(), signum)))
    saved = RunFolder(tmp_path / "run").read_trainer()
    assert saved is not None and saved[0] == 22  # the signal is answered at the end of the next step: nothing is lost
    train(config, tmp_path / "run", resume=True)
    assert files(tmp_path / "run") == files(folder)


@pytest.mark.parametrize("steps", [(1,), (3, 17, 33)], ids=str)
def test_a_run_that_crashed_continues_from_its_last_checkpoint_to_the_same_bits(whole, tmp_path, steps):
    config, folder = whole
    for step in steps:
        with pytest.raises(RuntimeError, match="crash"):
            train(config, tmp_path / "run", resume=True, on_step=stop_at(step, crash))
    train(config, tmp_path / "run", resume=True)
    assert files(tmp_path / "run") == files(folder)


def test_to_resume_a_finished_run_changes_nothing(whole, tmp_path):
    config, folder = whole
    train(config, tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    model = train(config, tmp_path / "run", resume=True, on_step=lambda *_: pytest.fail("it trained"))
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before
    for name, weight in load(tmp_path / "run").model.weights.items():
        assert torch.equal(model.weights[name], weight)


PROGRAM = """
import sys, time
from mesascope.models import RunConfig, train
config = RunConfig.model_validate_json(open(sys.argv[1]).read())
train(config, sys.argv[2], resume=True, on_step=lambda step, record: time.sleep(0.02))
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "SIGTERM"])
def test_a_killed_process_loses_nothing_but_the_steps_since_its_last_checkpoint(tmp_path, signum):
    config = RUNS["muon"]
    (tmp_path / "config.json").write_text(config.model_dump_json())
    train(config, tmp_path / "whole")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "config.json"), str(tmp_path / "run")]
    kept = tmp_path / "run" / "checkpoints" / "step_16.safetensors"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not kept.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signum)
    process.wait(60)
    assert process.returncode != 0 and not (tmp_path / "run" / "checkpoints" / "step_40.safetensors").exists()
    load(tmp_path / "run")  # whatever the moment, it is a readable run folder
    train(config, tmp_path / "run", resume=True)
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_resume_starts_a_run_where_there_is_none(tmp_path):
    train(RUNS["gram"], tmp_path / "a", resume=True)
    train(RUNS["gram"], tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    RunFolder.create(tmp_path / "run", RUNS["gram"])
    train(RUNS["gram"], tmp_path / "run", resume=True)
    train(RUNS["gram"], tmp_path / "whole")
    assert files(tmp_path / "run") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"seed": 1}, "seed=0, not 1"),
        ({"training": TokenTraining(n_steps=41, batch_size=4, curriculum=GROWING)}, "training.n_steps=40, not 41"),
        ({"training": GramTraining()}, "training.trainer='tokens', not 'gram'"),
        ({"model": DECODER.model_copy(update={"n_layers": 3})}, "model.n_layers=2, not 3"),
    ],
    ids=["seed", "steps", "trainer", "architecture"],
)
def test_a_run_is_not_continued_with_another_config(tmp_path, change, complaint):
    train(RUNS["muon"], tmp_path / "run")
    before = files(tmp_path / "run")
    trainable = RUNS["muon"].model_copy(update=change)
    if "model" in change or isinstance(change.get("training"), GramTraining):
        trainable = trainable.model_copy(update={"training": change.get("training", RUNS["muon"].training)})
    with pytest.raises(MesascopeError, match=f"was started with {complaint}.*; resume with the same config"):
        RunFolder(tmp_path / "run").check_same(trainable)
    if "training" not in change:
        with pytest.raises(MesascopeError, match="was started with"):
            train(trainable, tmp_path / "run", resume=True)
    assert files(tmp_path / "run") == before


def test_what_a_run_says_of_itself_may_differ(tmp_path):
    train(RUNS["muon"], tmp_path / "run")
    other = RUNS["muon"].model_copy(update={"about": "again", "command": "mesascope train …", "version": "9"})
    train(other, tmp_path / "run", resume=True)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"], ids=repr)
def test_a_broken_trainer_file_is_one_line_with_the_remedy(tmp_path, content):
    train(RUNS["gram"], tmp_path / "run")
    (tmp_path / "run" / "trainer.pt").write_bytes(content)
    with pytest.raises(MesascopeError, match=r"trainer.pt (cannot|was refused).*; copy the run's own") as error:
        train(RUNS["gram"], tmp_path / "run", resume=True)
    assert "\n" not in str(error.value)


def test_a_hostile_trainer_file_does_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it ran"),)

    train(RUNS["gram"], tmp_path / "run")
    torch.save({"step": 3, "state": Hostile()}, tmp_path / "run" / "trainer.pt")
    with pytest.raises(MesascopeError, match="trainer.pt was refused.* could run code"):
        train(RUNS["gram"], tmp_path / "run", resume=True)
    assert not (tmp_path / "it ran").exists()


def test_a_log_line_that_a_kill_cut_short_is_dropped(tmp_path):
    train(RUNS["gram"], tmp_path / "run")
    log = tmp_path / "run" / "log.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"step": 41, "lo')
    train(RUNS["gram"], tmp_path / "run", resume=True)
    assert log.read_text() == whole


def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(tmp_path):
    """`/dev/full` answers every write as a full disk does."""
    config = RUNS["muon"]

    def fill(step, record):
        if step == 9:
            (tmp_path / "run" / "log.jsonl").unlink()
            (tmp_path / "run" / "log.jsonl").symlink_to("/dev/full")

    with pytest.raises(MesascopeError, match="cannot write .*log.jsonl: No space left on device; free space") as error:
        train(config, tmp_path / "run", on_step=fill)
    assert "\n" not in str(error.value)
    assert load(tmp_path / "run").model is not None
    (tmp_path / "run" / "log.jsonl").unlink()
    train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "whole")
    assert files(tmp_path / "run")[0] == files(tmp_path / "whole")[0]


def test_a_run_without_its_trainer_file_is_not_started_over(tmp_path):
    """Every copy made without the largest file is such a folder."""
    train(RUNS["gram"], tmp_path / "run")
    (tmp_path / "run" / "trainer.pt").unlink()
    before = files(tmp_path / "run")
    with pytest.raises(MesascopeError, match="has weights but no trainer.pt, so it cannot be continued; copy"):
        train(RUNS["gram"], tmp_path / "run", resume=True)
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize("other", ["gram", "muon wider", "muon deeper", "muon later", "scalars"])
def test_a_trainer_file_of_another_run_is_one_line(tmp_path, other):
    config = RUNS["muon"]
    train(config, tmp_path / "run")
    mine = tmp_path / "run" / "trainer.pt"
    if other == "gram":
        theirs = RUNS["gram"]
    else:
        wider = {"muon wider": {"d_model": 16, "d_head": 8}, "muon deeper": {"n_layers": 3}}.get(other, {})
        theirs = config.model_copy(update={"model": config.model.model_copy(update=wider)})
    train(theirs, tmp_path / "theirs")
    content = torch.load(tmp_path / "theirs" / "trainer.pt", weights_only=True)
    content["step"] = 99 if other == "muon later" else 3
    if other == "scalars":  # `copy_` would broadcast them
        content["state"]["weights"] = {name: torch.zeros(()) for name in content["state"]["weights"]}
    torch.save(content, mine)
    with pytest.raises(MesascopeError, match="trainer.pt is not of this run") as error:
        train(config, tmp_path / "run", resume=True)
    assert "\n" not in str(error.value)


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    def second(step, record):
        if step == 5:
            with pytest.raises(MesascopeError, match="another process is training in .*; wait for it, or choose"):
                train(RUNS["muon"], tmp_path / "run", resume=True)

    train(RUNS["muon"], tmp_path / "run", on_step=second)
    train(RUNS["muon"], tmp_path / "run", resume=True)  # the lock is gone with the run


def test_what_a_kill_left_half_written_is_cleared_up(tmp_path):
    train(RUNS["gram"], tmp_path / "run")
    left = [tmp_path / "run" / ".trainer.pt.abc", tmp_path / "run" / "checkpoints" / ".step_4.safetensors.x"]
    for path in left:
        path.write_text("half")
    train(RUNS["gram"], tmp_path / "run", resume=True)
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("line", [b"[1]\n", b"\xff\xfe\n", b'{"loss": 1}\n'], ids=repr)
def test_a_log_that_is_no_log_ends_where_it_stops_being_one(tmp_path, line):
    train(RUNS["gram"], tmp_path / "run")
    log = tmp_path / "run" / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + line)
    train(RUNS["gram"], tmp_path / "run", resume=True)
    assert log.read_bytes() == whole
