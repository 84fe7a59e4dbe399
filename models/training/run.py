"""One training run: a configuration in, a run folder out; stopped at any step, it goes on as if it never had been."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from mesascope import __version__
from mesascope.models.errors import MesascopeError
from mesascope.models.regressor import HookedRegressor
from mesascope.models.tasks import Task
from mesascope.models.training.checkpoints import RunFolder
from mesascope.models.training.config import RunConfig
from mesascope.models.training.held_out import HeldOut
from mesascope.models.training.interrupts import Interrupts
from mesascope.models.training.processes import Processes
from mesascope.models.training.tracking import Record, Tracker

N_RECORDS = 200
"""About as many records as a run leaves in its log."""
SECONDS_BETWEEN_SAVES = 60.0
"""At least this often a run saves what it needs to be resumed, besides the checkpoints on its grid."""


@runtime_checkable
class Trainer(Protocol):
    """What `train` needs of a trainer."""

    def step(self, index: int) -> Tensor:
        """Take one step and return its loss."""

    def sync(self) -> None:
        """Bring the hooked model up to date."""

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""


def train(
    config: RunConfig,
    out: Path | str,
    *,
    resume: bool = False,
    device: str = "cpu",
    on_step: Callable[[int, Record], None] = lambda step, record: None,
    trackers: Sequence[Tracker] = (),
) -> HookedRegressor:
    """Train a model and leave a run folder.

    Checkpoints are kept on a logarithmic grid; what is needed to resume is saved with each and once a minute. SIGINT
    and SIGTERM let the step finish and save first; after kill -9 the steps since the last save are lost. Resumed, a run
    ends with bitwise the weights of one that was never stopped (same device kind, thread count and world size). Under
    `torchrun` the processes share each batch, and only the first writes.

    Args:
        config: The run. The same config and device kind give the same weights.
        out: The run folder; without `resume` it must not hold a run yet.
        resume: Continue the run in `out`, or start one if there is none.
        device: Where to train.
        on_step: Called after every step with the number of steps done and the newest record of the log.
        trackers: Take the records too.

    Raises:
        MesascopeError: The config has no training or one that does not fit the model, the device is not there, `out`
            holds a run (or, with `resume`, another one) or cannot be written, or the loss stops being finite.
        KeyboardInterrupt: It was asked to stop, and has saved itself.
    """
    if config.training is None:
        raise MesascopeError("the run has no `training`; add one, such as `training: {trainer: tokens}`")
    # Whatever can be refused is refused before the folder is made.
    processes = Processes(device)
    model = HookedRegressor(config.model, config.seed).to(processes.device)
    trainer: Trainer = config.training.start(model, config.task, config.seed, processes)
    run = _Run(config, RunFolder(out), model, trainer, processes, trackers)
    try:
        run.open(resume)
        with Interrupts() as interrupts:
            for step in range(run.step + 1, config.training.n_steps + 1):
                run.advance(step, interrupts)
                on_step(step, run.record)
    finally:
        run.folder.unlock()
        for tracker in trackers:
            tracker.close()
    return model.eval()


class _Run:
    """A run under way: what is on disk, what is in memory, and when the one becomes the other."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        model: HookedRegressor,
        trainer: Trainer,
        processes: Processes,
        trackers: Sequence[Tracker],
    ):
        assert config.training is not None
        self.config, self.folder, self.model, self.trainer = config, folder, model, trainer
        self.processes, self.trackers = processes, trackers
        self.n_steps = config.training.n_steps
        self.step, self.seconds_before = 0, 0.0
        self.record: Record = {}
        self.held_out: HeldOut | None = None
        if processes.is_main:
            self.held_out = HeldOut(config.task, model, config.seed, config.reference())

    def open(self, resume: bool) -> None:
        """Start the folder, or find where to continue."""
        resumes = resume and self.folder.holds_a_run
        if self.processes.is_main:
            if not resumes:
                RunFolder.create(self.folder.path, self.config)
            self.folder.lock()  # before anything is read that another process might change
        self.processes.wait()
        if resumes:
            self.folder.check_same(self.config)
            if (found := self.folder.read_trainer(self.n_steps)) is not None:
                self._restore(*found)
        if not self.processes.agree(self.step):
            raise MesascopeError(
                f"the processes do not see the same run in {self.folder.path} (this one is at step {self.step}); put "
                "it on a disk that they share"
            )
        self.trainer.sync()
        if self.processes.is_main:
            self.folder.forget_after(self.step)
            self.record = (self.folder.records() or [{}])[-1]
            self.seconds_before = self.record.get("seconds", 0.0)
            if self.step == 0:
                self._save(keep=True)
        self.started = self.saved = time.monotonic()

    def _restore(self, step: int, state: dict[str, Any]) -> None:
        try:
            self.trainer.restore(state)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise MesascopeError(
                f"{self.folder.path / 'trainer.pt'} is not of this run ({reason:.120}); copy the run's own back, or "
                "start anew in another --out"
            ) from error
        self.step = step

    def advance(self, step: int, interrupts: Interrupts) -> None:
        """Take a step; log, keep and save what is due.

        Raises:
            MesascopeError: It diverged.
            KeyboardInterrupt: It was asked to stop.
        """
        loss = self.trainer.step(step - 1)
        self.step = step
        stop = self.processes.any(interrupts.requested)
        keep = self.config.keeps(step)
        due = keep or step % max(1, self.n_steps // N_RECORDS) == 0
        if due:  # reading the loss waits for the device, so it is not done at every step
            self._log(self.processes.mean(loss).item())
        if keep or stop or time.monotonic() - self.saved > SECONDS_BETWEEN_SAVES:
            self._save(keep)
        if stop:
            raise KeyboardInterrupt

    def _log(self, loss: float) -> None:
        if not math.isfinite(loss):
            self._diverged(loss)
        if self.held_out is None:
            return
        self.trainer.sync()
        seconds = round(self.seconds_before + time.monotonic() - self.started, 2)
        measured = self.held_out.measure()
        if not all(map(math.isfinite, measured.values())):  # the loss is that of the weights before the step
            self._diverged(measured["held_out"])
        self.record = {"step": self.step, "loss": loss, **measured, "seconds": seconds}
        self.folder.log(self.record)
        for tracker in self.trackers:
            tracker.log(self.record)

    def _save(self, keep: bool) -> None:
        """Write the weights, then what makes them resumable; each file is whole at any time."""
        self.trainer.sync()
        # The loss is that of the weights before the step: weights worth keeping must be finite themselves.
        if not all(weight.isfinite().all() for weight in self.model.parameters()):
            self._diverged(math.nan)
        self.saved = time.monotonic()
        if not self.processes.is_main:
            return
        if keep:
            self.folder.checkpoint(self.step, self.model)
        self.folder.write_trainer(self.step, self.trainer.state())
        self.folder.write_model(self.model)  # last: a run with a model but without trainer.pt has lost it since

    def _diverged(self, loss: float) -> None:
        raise MesascopeError(
            f"training diverged at step {self.step} (loss {loss}); the last good checkpoint stays in "
            f"{self.folder.path}. Lower training.lr"
        )


def save(model: HookedRegressor, out: Path | str, task: Task, about: str = "") -> None:
    """Write a model as a run folder, such as one that was constructed or trained elsewhere.

    Args:
        model: The model.
        out: The run folder; it must not hold a run yet.
        task: The task to look at it with.
        about: What to say of it.

    Raises:
        MesascopeError: `out` holds a run already or cannot be written.
    """
    config = RunConfig(about=about, model=model.cfg, task=task, seed=model.seed, version=__version__)
    RunFolder.create(out, config).write_model(model)
