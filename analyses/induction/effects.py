"""The loss without heads, and without what copy heads tell query heads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.claim import as_json
from mesascope.analyses.induction.attention import N_BLOCKS
from mesascope.analyses.induction.reading import HeadReading, label_of
from mesascope.analyses.scope import Scope
from mesascope.probes import Estimate, component_means, jackknife_ratio, jackknifed
from mesascope.probes.ablation import CleanRun, Head, Knockout, attention_layers

STREAM, REFERENCE = "ablation", "ablation reference"
N_SCORED, N_PREDICTIONS = 240, 2400
"""Fewest prompts to score, and predictions at late points: a model that reads one point needs many prompts."""
N_REFERENCE = 512
"""Prompts whose mean outputs replace heads."""
MAX_PAIRED = 5
"""Most heads that are left out in pairs."""
What = Literal["head", "pair", "layer", "copy heads", "query heads", "path", "remaining paths", "named paths"]


@dataclass(frozen=True)
class Effect:
    """What the loss becomes under one knockout.

    Effects rank heads. They are no shares of anything, do not add up, and may go past the loss of predicting zero.
    """

    knockout: Knockout
    what: What
    factor: Estimate
    """On the loss of the late points, where there are examples enough for the model to have learned the task."""
    overall: Estimate
    """On the loss of all points that count."""
    loss: Estimate
    """The loss itself, of all points that count."""
    by_point: tuple[float, ...]
    """The loss at each of them."""
    lost: Estimate
    """The share that is lost of what the model gains over predicting zero on the same late points; more than 1 where it
    does worse than that."""
    late: tuple[float, ...]
    """The summed loss of the late points, by block of prompts."""

    def relative_to(self, other: "Effect") -> Estimate:
        """The factor on the loss of the late points under another knockout, on the same prompts."""
        return _ratio(torch.tensor(self.late).double(), torch.tensor(other.late).double())

    @property
    def label(self) -> str:
        """What is left out."""
        heads = _names(self.knockout.heads)
        if self.what == "layer":
            return f"layer {self.knockout.heads[0][0] + 1}"
        if not self.knockout.readers:
            return heads
        return f"{heads} → {_names(self.knockout.readers)} ({', '.join(self.knockout.uses)})"

    def data(self) -> dict[str, Any]:
        """All of it."""
        return {
            "what": self.what,
            "label": self.label,
            "kind": self.knockout.kind,
            "heads": [list(head) for head in self.knockout.heads],
            "readers": [list(head) for head in self.knockout.readers],
            "uses": list(self.knockout.uses) if self.knockout.readers else [],
            "factor": as_json(self.factor),
            "overall": as_json(self.overall),
            "loss": as_json(self.loss),
            "by_point": list(self.by_point),
            "lost": as_json(self.lost),
        }


def _names(heads: Sequence[Head]) -> str:
    return " + ".join(map(label_of, heads))


@dataclass(frozen=True)
class Losses:
    """The model's own loss, and that under every knockout."""

    points: tuple[int, ...]
    """The points that count."""
    late: tuple[int, ...]
    """Those of them from which factors are taken."""
    own: Estimate
    own_by_point: tuple[float, ...]
    null_by_point: tuple[float, ...]
    """The loss of predicting zero on the same prompts."""
    learned: Estimate
    """The model's loss, relative to that."""
    effects: tuple[Effect, ...]
    n_prompts: int

    def of(self, what: str, heads: Sequence[Head] | None = None, kind: str = "mean") -> Effect | None:
        """The effect of leaving out some heads (any, by default) everywhere."""
        wanted = None if heads is None else tuple(heads)
        return next(
            (
                effect
                for effect in self.effects
                if effect.what == what and effect.knockout.kind == kind and wanted in (None, effect.knockout.heads)
            ),
            None,
        )

    def joined(self, others: "Losses") -> "Losses":
        """With the effects of others on the same prompts."""
        return replace(self, effects=(*others.effects, *self.effects))

    def cut(self, knockout: Knockout) -> Effect:
        """The effect of a cut that was made."""
        return next(effect for effect in self.effects if effect.knockout == knockout)

    @property
    def paths(self) -> tuple[Effect, ...]:
        """What is cut between heads only."""
        return tuple(effect for effect in self.effects if effect.what == "path")

    def data(self) -> dict[str, Any]:
        """All of it."""
        return {
            "n_prompts": self.n_prompts,
            "points": list(self.points),
            "late": list(self.late),
            "own": as_json(self.own),
            "own_by_point": list(self.own_by_point),
            "null_by_point": list(self.null_by_point),
            "learned": as_json(self.learned),
            "effects": [effect.data() for effect in self.effects],
        }


Asked = list[tuple[Knockout, What]]


def single_knockouts(scope: Scope) -> Asked:
    """Every head, by its mean and by another prompt's, and every layer."""
    model = scope.hooked
    layers, heads = attention_layers(model), range(model.cfg.n_heads)
    asked: Asked = [(Knockout(((layer, head),)), "head") for layer in layers for head in heads]
    asked += [(Knockout(((layer, head),), "resample"), "head") for layer in layers for head in heads]
    if len(heads) > 1:
        asked += [(Knockout(tuple((layer, head) for head in heads)), "layer") for layer in layers]
    return asked


def joint_knockouts(copies: Sequence[HeadReading], queries: Sequence[HeadReading], paired: Sequence[Head]) -> Asked:
    """All copy heads, all query heads, and pairs of the heads whose loss matters the most."""
    asked: Asked = []
    if copies:
        asked.append((Knockout(tuple(head.place for head in copies)), "copy heads"))
    if queries:
        asked.append((Knockout(tuple(head.place for head in queries)), "query heads"))
    some = sorted(paired[:MAX_PAIRED])
    return asked + [(Knockout((one, two)), "pair") for place, one in enumerate(some) for two in some[place + 1 :]]


class Bench:
    """Scores knockouts on the same prompts, on which nothing else is measured.

    Args:
        scope: A model with heads.
        n_prompts: Prompts to score, in `N_BLOCKS` batches or more; default as many as `N_PREDICTIONS` asks for.
    """

    def __init__(self, scope: Scope, n_prompts: int | None = None):
        self.scope = scope
        self.points = scope.counted_points
        late = tuple(point for point in self.points if point >= scope.task.late)
        self.late = late or self.points
        self.n_prompts = n_prompts or max(N_SCORED, N_PREDICTIONS // len(self.late))
        self.means = component_means(scope.hooked, scope.batches(N_REFERENCE, REFERENCE))

    def score(self, asked: Asked) -> Losses:
        """The losses of all that is asked."""
        scope, model = self.scope, self.scope.hooked
        sums = torch.zeros(len(asked) + 2, N_BLOCKS, len(self.points), dtype=torch.float64)
        counts = torch.zeros(N_BLOCKS, dtype=torch.float64)
        for index, prompts in enumerate(scope.batches(self.n_prompts, STREAM, N_BLOCKS)):
            run = CleanRun(model, prompts, self.means)
            scope.refuse_non_finite(run.preds)
            counts[index % N_BLOCKS] += len(prompts)
            nothing = torch.zeros_like(run.preds)
            for row, preds in enumerate([run.preds, nothing, *(run.without(knockout) for knockout, _ in asked)]):
                losses = scope.task.counted_losses(
                    preds.double(), prompts.ys.double(), model.read_points(prompts.n_points)
                )
                sums[row, index % N_BLOCKS] += losses.sum(0).cpu()
        return self._losses(asked, sums, counts)

    def _losses(self, asked: Asked, sums: Float[Tensor, "n n_blocks n_points"], counts: Tensor) -> Losses:
        late = [self.points.index(point) for point in self.late]
        own, null, n = sums[0], sums[1], counts.sum()
        effects = []
        for (knockout, what), without in zip(asked, sums[2:], strict=True):
            factor, overall = (_ratio(without[:, at].sum(1), own[:, at].sum(1)) for at in (late, slice(None)))
            by_point = tuple((without.sum(0) / n).tolist())
            gained, lost = ((other - own)[:, late].sum(1) for other in (null, without))
            loss = _ratio(without.mean(1), counts)
            sums_late = tuple(without[:, late].sum(1).tolist())
            found = jackknife_ratio(lost, gained)
            effects.append(Effect(knockout, what, factor, overall, loss, by_point, found, sums_late))
        return Losses(
            self.points,
            self.late,
            _ratio(own.mean(1), counts),
            tuple((own.sum(0) / n).tolist()),
            tuple((null.sum(0) / n).tolist()),
            _ratio(own.sum(1), null.sum(1)),
            tuple(effects),
            self.n_prompts,
        )


def _ratio(numerator: Float[Tensor, " n_blocks"], denominator: Float[Tensor, " n_blocks"]) -> Estimate:
    """Σnumerator/Σdenominator with the jackknife interval of its logarithm, by which losses differ.

    A loss of exactly zero counts as the smallest number.
    """
    tiny = 1e-30

    def log(of: Tensor) -> Tensor:
        return of.clamp(min=tiny).log()

    value = log(numerator.sum()) - log(denominator.sum())
    left_out = log(numerator.sum() - numerator) - log(denominator.sum() - denominator)
    (found,) = jackknifed(value[None], left_out[:, None])
    return Estimate(*(math.exp(min(end, 700.0)) for end in (found.value, found.low, found.high)))
