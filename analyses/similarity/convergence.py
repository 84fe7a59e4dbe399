"""How the error comes down, over the layers of a model and over the steps of learners."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mesascope.analyses.similarity.bench import Bench
from mesascope.analyses.similarity.comparison import Comparison


@dataclass(frozen=True)
class Convergence:
    """Mean squared errors by point, of layers and of the iterates of the courses' learners; tuning prompts."""

    points: tuple[int, ...]
    late: tuple[int, ...]
    """Indices of the points that count as late."""
    null: tuple[float, ...]
    """Of predicting zero."""
    layers: dict[str, tuple[float, ...]]
    iterates: dict[str, tuple[tuple[float, ...], ...]]
    """By family: [step][point]."""

    def relative(self, errors: Sequence[float]) -> float:
        """The error at the late points, relative to that of predicting zero."""
        return sum(errors[i] for i in self.late) / sum(self.null[i] for i in self.late)

    def data(self) -> dict[str, Any]:
        """Every error by point."""
        return {
            "points": list(self.points),
            "null": list(self.null),
            "layers": {label: list(row) for label, row in self.layers.items()},
            "iterates": {name: [list(row) for row in rows] for name, rows in self.iterates.items()},
        }


def measure_convergence(bench: Bench, points: Sequence[int], errors: Comparison) -> Convergence:
    """Squared errors of the layers and of the courses' iterates, by point.

    Args:
        bench: The model, by errors.
        points: Those that its measure counts.
        errors: What was found by errors.
    """
    totals: dict[str, Tensor] = {}
    for prompts in bench.batches(errors.n_tune, "similarity tune"):
        ys = prompts.ys[:, points].double()
        found = {"layers": bench.own(prompts), "null": torch.zeros_like(ys)[None]}
        found |= {
            f"iterates {course.family}": bench.measure.predict(course.sweep, prompts) for course in errors.courses
        }
        for name, preds in found.items():
            totals[name] = totals.get(name, torch.zeros(())) + (preds - ys).square().sum(1) / errors.n_tune
    by_point = {name: tuple(map(tuple, total.tolist())) for name, total in totals.items()}
    return Convergence(
        points=tuple(points),
        late=tuple(i for i, t in enumerate(points) if t >= bench.scope.task.late) or (len(points) - 1,),
        null=by_point["null"][0],
        layers=dict(zip(bench.labels, by_point["layers"], strict=True)),
        iterates={course.family: by_point[f"iterates {course.family}"] for course in errors.courses},
    )
