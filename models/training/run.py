"""One training run: a configuration in, a run folder out."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field, model_validator

from mesascope import __version__
from mesascope.models.config import Config
from mesascope.models.devices import usable_device
from mesascope.models.errors import MesascopeError
from mesascope.models.regressor import HookedRegressor, RegressorConfig
from mesascope.models.tasks import Task
from mesascope.models.training.checkpoints import RunFolder
from mesascope.models.training.gram import GramTraining
from mesascope.models.training.tokens import TokenTraining


class RunConfig(Config):
    """Everything that determines a run; a preset is one of these in YAML, a run's config.json one in JSON."""

    about: str = ""
    model: RegressorConfig
    task: Task
    training: Annotated[TokenTraining | GramTraining, Field(discriminator="trainer")] | None = None
    """How it is trained; None for a model that was not trained here."""
    seed: int = 0
    version: str = ""
    """mesascope's version that trained it; empty in a preset."""
    command: str = ""
    """The command that made it; empty in a preset."""

    @model_validator(mode="after")
    def _model_fits_task(self) -> "RunConfig":
        if self.task.n_dims != self.model.n_dims:
            raise ValueError(f"task.n_dims={self.task.n_dims} but model.n_dims={self.model.n_dims}; make them equal")
        n_points = self.task.n_points + getattr(self.training, "n_extra_points", 0)
        if self.model.read == "affine" and n_points > self.model.n_points:
            raise ValueError(
                f"training prompts have {n_points} points but the model has positions for {self.model.n_points}; "
                "raise model.n_points"
            )
        return self


class Trainer(Protocol):
    """What `train` needs of a trainer."""

    def step(self, index: int) -> float:
        """Take one step and return its loss."""

    def sync(self) -> None:
        """Bring the hooked model up to date."""


def is_on_log_grid(step: int) -> bool:
    """0, 1, 2, 4, 8, …: where checkpoints are written, besides the last step."""
    return step & (step - 1) == 0


def train(
    config: RunConfig,
    out: Path | str,
    *,
    device: str = "cpu",
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> HookedRegressor:
    """Train a model and leave a run folder.

    `model.safetensors` always holds the last checkpoint (written on a logarithmic grid and at the end), so a killed
    run is still a readable run folder.

    Args:
        config: The run. The same config and device kind give the same weights.
        out: The run folder; it must not hold a run yet.
        device: Where to train.
        on_step: Called after every step with the number of steps done and the step's loss.

    Raises:
        MesascopeError: The config has no training or one that does not fit the model, the device is not there, `out`
            holds a run already or cannot be written, or the loss stops being finite.
    """
    if config.training is None:
        raise MesascopeError("the run has no `training`; add one, such as `training: {trainer: tokens}`")
    # Whatever can be refused is refused before the folder is made.
    model = HookedRegressor(config.model, config.seed).to(usable_device(device))
    trainer: Trainer = config.training.start(model, config.task, config.seed)
    folder = RunFolder.create(out, config)
    n_steps, started = config.training.n_steps, time.monotonic()
    every = max(1, n_steps // 200)
    trainer.sync()
    folder.checkpoint(0, model)
    for step in range(1, n_steps + 1):
        loss = trainer.step(step - 1)
        keep = is_on_log_grid(step) or step == n_steps
        if keep:
            trainer.sync()
        # The loss is that of the weights before the step: weights worth keeping must be finite themselves.
        if not math.isfinite(loss) or (keep and not all(weight.isfinite().all() for weight in model.parameters())):
            raise MesascopeError(
                f"training diverged at step {step} (loss {loss}); the last good checkpoint stays in {folder.path}. "
                "Lower training.lr"
            )
        if step % every == 0 or step == n_steps:
            record: dict[str, Any] = {"step": step, "loss": loss, "seconds": round(time.monotonic() - started, 2)}
            folder.log(json.dumps(record))
        if keep:
            folder.checkpoint(step, model)
        on_step(step, loss)
    return model.eval()


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
