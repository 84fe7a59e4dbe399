"""The bundled specimens, each with its loss beside that of its reference learner."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mesascope.analyses.scope import Scope, attach
from mesascope.models import HookedRegressor, Learner, RegressorConfig
from mesascope.models.formats import zoo_names
from mesascope.models.inputs import describe_inputs
from mesascope.models.tasks import Regression, Task


@dataclass(frozen=True)
class Specimen:
    """One row of the zoo's table."""

    name: str
    kind: str
    layers: int
    weights: int
    task: str
    d: int
    points: int
    seed: int | None
    loss: float
    """Relative to predicting zero, over the late points that count; the mean over the task's components."""
    reference_loss: float
    reference: str
    family: str
    """Of the reference."""
    about: str

    def columns(self) -> dict[str, str]:
        """What fits into a terminal."""
        return {
            "zoo:": self.name.removeprefix("zoo:"),
            "layers": f"{self.layers} {self.kind}",
            "task": f"{self.task.split(',')[0].removesuffix(' regression')} d={self.d}",
            "loss": f"{self.loss:.3g}",
            "reference": f"{self.reference_loss:.3g} {self.family}",
        }

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return asdict(self)


def survey_zoo(n_prompts: int = 1000, on_specimen: Callable[[str], None] = lambda name: None) -> list[Specimen]:
    """Load every bundled specimen and measure it."""
    found = []
    for name in zoo_names():
        on_specimen(name)
        found.append(_measure(f"zoo:{name}", n_prompts))
    return found


def _measure(source: str, n_prompts: int) -> Specimen:
    scope = attach(source)
    assert isinstance(scope.model, HookedRegressor) and scope.checkpoint is not None
    reference = scope.checkpoint.reference
    assert reference is not None
    losses = [_relative_losses(scope, task, reference, n_prompts) for task in scope.task.components().values()]
    loss, reference_loss = torch.tensor(losses).mean(0).tolist()
    cfg = scope.model.cfg
    return Specimen(
        name=source,
        kind=_kind(cfg),
        layers=cfg.n_layers,
        weights=sum(weight.numel() for weight in scope.model.parameters()),
        task=describe_task(scope.task),
        d=scope.task.n_dims,
        points=scope.task.n_points,
        seed=scope.checkpoint.seed,
        loss=loss,
        reference_loss=reference_loss,
        reference=reference.label,
        family=reference.family,
        about=scope.checkpoint.about,
    )


def _relative_losses(scope: Scope, task: Task, reference: Learner, n_prompts: int) -> tuple[float, float]:
    """Of the model and of the reference, over the late points that count."""
    prompts = task.sample(n_prompts, seed=scope.seed, stream="zoo", dtype=scope.dtype)
    points = scope.counted_points
    late = next((place for place, point in enumerate(points) if point >= task.late), 0)
    read, ys = scope.model.read_points(task.n_points), prompts.ys.double()
    exact = reference.predict(prompts)[:, list(read)]
    model, best, null = (
        task.counted_losses(preds, ys, read)[:, late:].mean().item()
        for preds in (scope.predict(prompts), exact, torch.zeros_like(exact))
    )
    return model / null, best / null


def _kind(cfg: RegressorConfig) -> str:
    if cfg.block != "transformer":
        return cfg.block
    return " + ".join(dict.fromkeys("mlp" if kind == "none" else kind.replace("_", " ") for kind in cfg.attentions))


def describe_task(task: Task) -> str:
    """A task's name with its inputs."""
    name = task.name.replace("_", " ")
    return f"{name}, {describe_inputs(task.inputs)}" if isinstance(task, Regression) else name
