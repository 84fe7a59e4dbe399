"""The bundled specimens, each with its loss beside that of its reference learner."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from mesascope.analyses.performance import measure_performance
from mesascope.analyses.scope import attach
from mesascope.models import HookedRegressor, RegressorConfig
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
    """Relative to predicting zero, over the late points; the mean over the task's components."""
    reference_loss: float
    reference: str
    about: str

    def columns(self) -> dict[str, str]:
        """What fits into a terminal."""
        return {
            "name": self.name,
            "kind": f"{self.kind}, {self.layers} {'layer' if self.layers == 1 else 'layers'}",
            "task": f"{self.task}, d={self.d}",
            "loss": f"{self.loss:.2g}",
            "reference": f"{self.reference_loss:.2g} {self.reference}",
        }

    def to_json(self) -> dict[str, Any]:
        """Everything."""
        return asdict(self)


def survey_zoo(n_prompts: int = 400, on_specimen: Callable[[str], None] = lambda name: None) -> list[Specimen]:
    """Load every bundled specimen and measure it."""
    found = []
    for name in zoo_names():
        on_specimen(name)
        found.append(_measure(f"zoo:{name}", n_prompts))
    return found


def _measure(source: str, n_prompts: int) -> Specimen:
    scope = attach(source)
    assert isinstance(scope.model, HookedRegressor) and scope.checkpoint is not None
    performance = measure_performance(scope, n_prompts)
    late = performance.points.index(performance.late)
    parts = performance.components

    def mean(curves: list[tuple[float, ...]]) -> float:
        return sum(sum(curve[late:]) / len(curve[late:]) for curve in curves) / len(curves)

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
        loss=mean([part.model for part in parts]),
        reference_loss=mean([part.reference for part in parts]),
        reference=parts[0].reference_name,
        about=scope.checkpoint.about,
    )


def _kind(cfg: RegressorConfig) -> str:
    if cfg.block != "transformer":
        return cfg.block
    return " + ".join(dict.fromkeys("mlp" if kind == "none" else kind.replace("_", " ") for kind in cfg.attentions))


def describe_task(task: Task) -> str:
    """A task's name with its inputs."""
    name = task.name.replace("_", " ")
    return f"{name}, {describe_inputs(task.inputs)}" if isinstance(task, Regression) else name
