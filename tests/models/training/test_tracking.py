import sys

import pytest

from mesascope.models import MesascopeError, train
from mesascope.models.training.tracking import TensorBoard, WeightsAndBiases
from tests.conftest import tiny


class Remembers:
    def __init__(self):
        self.records, self.closed = [], 0

    def log(self, record):
        self.records.append(dict(record))

    def close(self):
        self.closed += 1


def test_trackers_take_every_record_of_the_log_and_are_closed_once(tmp_path):
    tracker = Remembers()
    train(tiny(), tmp_path / "run", trackers=[tracker])
    assert [record["step"] for record in tracker.records] == list(range(1, 61)) and tracker.closed == 1


def test_trackers_are_closed_when_a_run_is_stopped(tmp_path):
    def stop(step, record):
        raise RuntimeError("stop")

    tracker = Remembers()
    with pytest.raises(RuntimeError, match="stop"):
        train(tiny(), tmp_path / "run", trackers=[tracker], on_step=stop)
    assert tracker.closed == 1


def test_tensorboard_holds_every_number_at_its_step(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    tracker = TensorBoard(tmp_path)
    for step in (1, 2, 4):
        tracker.log({"step": step, "loss": 1 / step, "excess": -0.5})
    tracker.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["excess", "loss"]
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1.0), (2, 0.5), (4, 0.25)]


@pytest.mark.slow
def test_weights_and_biases_logs_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (tmp_path / "run").mkdir()
    tracker = WeightsAndBiases("mesascope-tests", tmp_path / "run", {"seed": 0})
    tracker.log({"step": 1, "loss": 0.5})
    tracker.close()
    (written,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    assert written.stat().st_size > 0


def test_a_run_that_logged_nothing_leaves_no_events(tmp_path):
    for tracker in (TensorBoard(tmp_path / "events"), WeightsAndBiases("mesascope-tests", tmp_path / "run", {})):
        tracker.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "module, start",
    [
        ("torch.utils.tensorboard", lambda folder: TensorBoard(folder)),
        ("wandb", lambda folder: WeightsAndBiases("p", folder, {})),
    ],
    ids=["tensorboard", "wandb"],
)
def test_a_tracker_that_is_not_installed_says_what_to_install(tmp_path, monkeypatch, module, start):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MesascopeError, match=r"is not installed; pip install 'mesascope\[track\]'"):
        start(tmp_path / "run")
    assert not (tmp_path / "run").exists()
