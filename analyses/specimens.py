"""The bundled specimens, each with its loss beside that of its reference learner."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mesascope.analyses.performance import scored_points
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
    about: str

    def columns(self) -> dict[str, str]:
        """What fits into a terminal."""
        return {
            "zoo:": self.name.removeprefix("zoo:"),
            "layers": f"{self.layers} {self.kind}",
            "task": f"{self.task.split(',')[0].removesuffix(' regression')} d={self.d}",
            "loss": f"{self.loss:.3g}",
            "reference": f"{self.reference_loss:.3g} {self.reference.split(' k=')[0]}",
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
        about=scope.checkpoint.about,
    )


def _relative_losses(scope: Scope, task: Task, reference: Learner, n_prompts: int) -> tuple[float, float]:
    """Of the model and of the reference, over the late points that count."""
    prompts = task.sample(n_prompts, seed=scope.seed, stream="zoo", dtype=scope.dtype)
    read, scored = list(scope.model.read_points(task.n_points)), scored_points(scope)
    late = [point for point in scored if point >= task.late] or list(scored)
    model = scope.predict(prompts)[:, [read.index(point) for point in late]]
    exact, ys = reference.predict(prompts)[:, late], prompts.ys[:, late].double()
    null = task.loss(torch.zeros_like(exact), ys).mean()
    return ((task.loss(model, ys).mean() / null).item(), (task.loss(exact, ys).mean() / null).item())


def _kind(cfg: RegressorConfig) -> str:
    if cfg.block != "transformer":
        return cfg.block
    return " + ".join(dict.fromkeys("mlp" if kind == "none" else kind.replace("_", " ") for kind in cfg.attentions))


def describe_task(task: Task) -> str:
    """A task's name with its inputs."""
    name = task.name.replace("_", " ")
    return f"{name}, {describe_inputs(task.inputs)}" if isinstance(task, Regression) else name
