"""What a loader hands over, and what every foreign file must pass before it is believed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from mesascope.models.errors import MesascopeError
from mesascope.models.learners.base import Learner
from mesascope.models.regressor import HookedRegressor
from mesascope.models.tasks import Regression, Task


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model with what its folder says about it."""

    model: HookedRegressor
    """In evaluation mode, on the CPU."""
    task: Task
    """The task it was trained on, as far as the folder says."""
    source: str
    """Where it came from."""
    format: str
    """Name of the format it was read from."""
    seed: int | None
    """Seed of the run; None if the folder does not say."""
    w_std_known: bool
    """Whether the folder records the scale of w; if not, `task.w_std` is the user's word."""
    about: str = ""
    """What the folder says about itself."""
    command: str = ""
    """The command that trained it, if known."""
    reference: Learner | None = None
    """The learner that the folder names to hold the model against."""


class Format(ABC):
    """A checkpoint format: one subclass in one file, listed once in `registry.py`."""

    name: ClassVar[str]
    expected: ClassVar[str]
    """What it recognises, in words."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Whether an existing file or folder is for this format to load, or to refuse if it is broken."""

    @abstractmethod
    def load(self, path: Path, w_std: float | None) -> Checkpoint:
        """Read what it recognises.

        Args:
            path: The file or folder.
            w_std: What the user says about the scale of w; None leaves it to the file, or to 1.
        """

    def steps(self, path: Path) -> dict[int, Path]:
        """The file of every step that a run folder keeps; none unless the format says otherwise."""
        return {}


def with_scale(task: Task, w_std: float | None) -> Task:
    """The task at the user's scale of w, or as it is if they say nothing.

    Raises:
        MesascopeError: The task has no such scale.
    """
    if w_std is None:
        return task
    if not isinstance(task, Regression):
        raise MesascopeError(f"w_std={w_std} has no meaning for the task {task.name!r}; leave it out")
    return task.model_copy(update={"w_std": w_std})


def load_weights(model: HookedRegressor, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into a model, every name and shape checked.

    Raises:
        MesascopeError: A weight is missing, unknown, of another shape, or not finite.
    """
    expected = model.weights
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or unknown:
        raise MesascopeError(
            f"{path} does not fit its config: "
            + "; ".join(
                f"{what} {names[0]!r}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
                for what, names in [("missing", missing), ("unknown", unknown)]
                if names
            )
            + "; keep the config of the run that wrote the weights"
        )
    for name, tensor in weights.items():
        _check_numbers(name, tensor, expected[name], path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    model.eval()


def _check_numbers(name: str, tensor: Tensor, expected: Tensor, path: Path) -> None:
    kind = "a nested tensor" if tensor.is_nested else str(tensor.dtype)
    if tensor.is_nested or tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_complex():
        raise MesascopeError(
            f"{path}: {name} is no plain array of real numbers (got {kind}, {tensor.layout}, on {tensor.device}); "
            "save it dense and real"
        )
    if tensor.shape != expected.shape:
        raise MesascopeError(
            f"{path}: {name} has shape {tuple(tensor.shape)} but the config asks for {tuple(expected.shape)}; "
            "config and weights are of different models"
        )
    if not tensor.to(expected.dtype).isfinite().all():  # a float64 may leave the range of float32
        raise MesascopeError(f"{path}: {name} holds NaN or infinite numbers; use an earlier checkpoint")
