"""How the layers go along the steps of one learner."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.similarity.match import ABOVE, LayerSimilarity
from mesascope.models.learners.base import IterativeLearner, Sweep
from mesascope.probes.similarity import Roster

LAWS = ("linear", "exponential")
"""How steps may grow with the layer."""
MIN_LAYERS = 3
"""Layers that a course of steps needs for a line through it to say anything."""


@dataclass(frozen=True)
class Course:
    """Every layer against one learner after different numbers of steps."""

    sweep: Sweep
    """Of its family the one whose best matches are the most similar, summed over layers."""
    labels: tuple[str, ...]
    similarities: tuple[tuple[float, ...], ...]
    """[layer][step], on the tuning prompts."""
    counted: tuple[int, ...]
    """Indices of the layers whose best match is above its floor."""

    @property
    def family(self) -> str:
        """Its family."""
        return self.sweep.learner.family

    @property
    def name(self) -> str:
        """The learner without its number of steps."""
        learner = self.sweep.learner
        return learner.label.replace(f" k={learner.n_steps}", "") if isinstance(learner, IterativeLearner) else ""

    @property
    def best_steps(self) -> tuple[int, ...]:
        """The best-matching number of steps of each layer."""
        return tuple(self.sweep.steps[int(np.argmax(row))] for row in self.similarities)

    @property
    def depths(self) -> tuple[int, ...]:
        """Numbers of the layers that count: those of the residual stream that are above their floor."""
        return tuple(int(self.labels[i].split()[1]) for i in self._numbered)

    @property
    def steps_by_depth(self) -> tuple[int, ...]:
        """The best-matching number of steps of each of them."""
        return tuple(self.best_steps[i] for i in self._numbered)

    @property
    def _numbered(self) -> list[int]:
        return [i for i in self.counted if self.labels[i].startswith("layer ")]

    def growth(self, law: str) -> tuple[float, float, float] | None:
        """Slope, intercept and R² of k (law "linear") or of log2 k ("exponential") against the layer's number.

        None where fewer than three layers count, or all have the same k; no exponential goes through k = 0.
        """
        x, k = np.array(self.depths, dtype=float), np.array(self.steps_by_depth, dtype=float)
        if len(x) < MIN_LAYERS or (k == k[0]).all() or (law == "exponential" and not k.all()):
            return None
        values = k if law == "linear" else np.log2(k)
        slope, intercept = np.polyfit(x, values, 1)
        left = values - (slope * x + intercept)
        return float(slope), float(intercept), float(1 - left.var() / values.var())

    @property
    def fits(self) -> dict[str, tuple[float, float, float]]:
        """The growth by law, where there is one."""
        return {law: fit for law in LAWS if (fit := self.growth(law)) is not None}

    def data(self) -> dict[str, Any]:
        """Similarities by layer and step, and how well a line goes through the best."""
        return {
            "learner": self.name,
            "steps": list(self.sweep.steps),
            "similarities": [list(row) for row in self.similarities],
            "best_steps": list(self.best_steps),
            "r2": {law: (fit := self.growth(law)) and fit[2] for law in LAWS},
        }


def choose_courses(
    roster: Roster, tuned: Float[Tensor, "n_layers n_members"], layers: Sequence[LayerSimilarity]
) -> tuple[Course, ...]:
    """Of every family that makes steps, the sweep whose best matches are the most similar; the output's first.

    Args:
        roster: Every sweep.
        tuned: Similarities on the tuning prompts.
        layers: The layers with their verdicts.
    """
    best: dict[str, tuple[float, Course]] = {}
    labels = tuple(layer.label for layer in layers)
    counted = tuple(index for index, layer in enumerate(layers) if layer.best.verdict == ABOVE)
    for index, sweep in enumerate(roster.sweeps):
        if len(sweep.steps) > 1:
            rows = tuned[:, roster.rows(index)]
            course = Course(sweep, labels, tuple(map(tuple, rows.tolist())), counted)
            height = rows.amax(1).sum().item()
            if height > best.get(course.family, (-math.inf,))[0]:
                best[course.family] = height, course
    return tuple(sorted((course for _, course in best.values()), key=lambda course: -max(course.similarities[-1])))
