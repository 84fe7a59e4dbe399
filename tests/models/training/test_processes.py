"""Several processes under torchrun take the same steps as one."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from mesascope.models import LinearRegression, MesascopeError, RegressorConfig, RunConfig, train
from mesascope.models.training import GramTraining, TokenTraining
from mesascope.models.training.processes import Processes

TASK = LinearRegression(n_dims=2, n_points=6)
# No bias on keys: softmax does not see it, its gradient is rounding, and Adam makes steps of that.
DECODER = RegressorConfig(n_dims=2, n_points=6, n_layers=1, n_heads=2, d_model=8, d_mlp=8, attention_bias=False)
ADAM = TokenTraining(n_steps=20, batch_size=12, optimizer="adam", lr=1e-3)


def torchrun(tmp_path, config, n_processes=2):
    (tmp_path / "run.yaml").write_text(config.model_dump_json(exclude_defaults=False))  # JSON is YAML
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n_processes), "-m", "mesascope"]
    command += ["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "two")]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_two_processes_train_on_the_samples_of_one_and_end_with_its_weights(tmp_path):
    config = RunConfig(model=DECODER, task=TASK, training=ADAM)
    done = torchrun(tmp_path, config)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "two")]  # one process speaks for both
    train(config, tmp_path / "one")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    start = load_file(tmp_path / "one" / "checkpoints" / "step_0.safetensors")
    for name, weight in one.items():
        moved = (weight - start[name]).abs().max()
        assert (weight - two[name]).abs().max() <= 1e-3 * moved + 1e-7, name


@pytest.mark.slow
@pytest.mark.parametrize(
    "training, complaint",
    [
        (ADAM.model_copy(update={"batch_size": 3}), "training.batch_size=3 does not divide by 2 processes"),
        (GramTraining(n_steps=2), "trainer 'gram' takes seconds in one process; run it without torchrun"),
    ],
    ids=["batch", "gram"],
)
def test_what_cannot_be_shared_is_refused(tmp_path, training, complaint):
    model = RegressorConfig.linear_self_attention(2, 6, 1) if isinstance(training, GramTraining) else DECODER
    done = torchrun(tmp_path, RunConfig(model=model, task=TASK, training=training))
    assert done.returncode != 0 and complaint in done.stderr
    assert not (tmp_path / "two" / "model.safetensors").exists()


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_shares_are_disjoint_and_together_the_batch(monkeypatch, world):
    seen: list[int] = []
    for rank in range(world):
        processes = Processes()
        processes.world, processes.rank = world, rank
        start, count = processes.share(5, 12)
        seen += range(start, start + count)
    assert seen == list(range(60, 72))


def test_one_process_is_the_identity(unchecked_shapes):
    processes = Processes()
    assert processes.share(3, 7) == (21, 7)
    assert processes.is_main and processes.any(True) and not processes.any(False)
    module, value = torch.nn.Identity(), torch.ones(1)
    assert processes.parallel(module) is module and processes.mean(value) is value
    processes.wait()


def test_a_rank_without_a_world_means_nothing(monkeypatch):
    """Schedulers and leftover shells set it."""
    monkeypatch.setenv("RANK", "1")
    assert Processes().is_main
    monkeypatch.setenv("WORLD_SIZE", "foo")
    with pytest.raises(MesascopeError, match="WORLD_SIZE and RANK are not torchrun's"):
        Processes()


@pytest.mark.slow
def test_processes_that_do_not_see_the_same_run_are_refused(tmp_path):
    """As on nodes without a common disk: only the first finds something to resume."""
    train(RunConfig(model=DECODER, task=TASK, training=ADAM), tmp_path / "0" / "run")
    (tmp_path / "1").mkdir()
    program = (
        "import os, sys; os.chdir(os.path.join(sys.argv[1], os.environ['RANK']));"
        "from mesascope.models import RunConfig, train;"
        "train(RunConfig.model_validate_json(open('../config.json').read()), 'run', resume=True)"
    )
    (tmp_path / "config.json").write_text((tmp_path / "0" / "run" / "config.json").read_text())
    (tmp_path / "program.py").write_text(program)
    before = (tmp_path / "0" / "run" / "model.safetensors").read_bytes()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(tmp_path / "program.py")]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "do not see the same run" in done.stderr
    assert (tmp_path / "0" / "run" / "model.safetensors").read_bytes() == before


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(MesascopeError, match="cannot use device 'banana'"):
        Processes("banana")
