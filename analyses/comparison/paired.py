"""Losses and predictions of several models on the same prompts, prompt by prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.findings import reason_of
from mesascope.analyses.scope import Scope
from mesascope.models import MesascopeError, Prompts
from mesascope.models.tasks import Regression
from mesascope.probes import Estimate, jackknife_ratio
from mesascope.probes.jackknife import N_BLOCKS


@dataclass(frozen=True)
class Paired:
    """Sums over each block of prompts, at the points that all models read; what a model refused is None."""

    losses: Float[Tensor, "n_models n_blocks"]
    distances: Float[Tensor, "n_models n_blocks"] | None
    """Squared distance of each model's predictions to the first one's; None where predictions are no numbers."""
    null: Float[Tensor, " n_blocks"]
    """Loss of predicting zero."""
    failed: Mapping[int, str]
    """Why a model did not predict, such as one that diverged; its sums mean nothing."""

    def loss(self, model: int) -> Estimate | None:
        """A model's loss / loss of predicting zero."""
        return None if model in self.failed else jackknife_ratio(self.losses[model], self.null)

    def excess(self, model: int) -> Estimate | None:
        """(loss − the first model's)/(loss of predicting zero), paired by prompt."""
        return jackknife_ratio(self.losses[model] - self.losses[0], self.null) if self.both_predict(model) else None

    def distance(self, model: int) -> Estimate | None:
        """E (f − f₁)² / loss of predicting zero, f₁ the first model's predictions."""
        if self.distances is None or not self.both_predict(model):
            return None
        return jackknife_ratio(self.distances[model], self.null)

    def both_predict(self, model: int) -> bool:
        """Whether a model and the first one do."""
        return self.failed.keys().isdisjoint({0, model})


def measure_pairs(scopes: Sequence[Scope], n_prompts: int) -> Paired:
    """Run all models over the same prompts; memory does not grow with their number.

    A model that predicts NaN or lacks memory is left out, with the reason, and costs the others nothing.

    Raises:
        MesascopeError: There is no point that all of them read and the task scores, or there are fewer prompts than
            blocks.
    """
    if n_prompts < N_BLOCKS:
        raise MesascopeError(f"n_prompts={n_prompts}: a comparison needs at least {N_BLOCKS}, one for each block")
    task, points = scopes[0].task, common_points(scopes)
    losses = torch.zeros(len(scopes), N_BLOCKS, dtype=torch.float64)
    distances, null = torch.zeros_like(losses), torch.zeros(N_BLOCKS, dtype=torch.float64)
    failed: dict[int, str] = {}
    streams = [scope.batches(n_prompts, "comparison", N_BLOCKS) for scope in scopes]
    for index, batches in enumerate(zip(*streams, strict=True)):
        block = index % N_BLOCKS
        found = _predictions(scopes, batches, points, failed)
        ys = batches[0].ys[:, points].double().cpu()
        zeros = torch.zeros_like(ys) if task.d_out == 1 else ys.new_zeros(*ys.shape, task.d_out)
        null[block] += task.loss(zeros, ys).sum()
        for model, preds in found.items():
            losses[model, block] += task.loss(preds, ys).sum()
            distances[model, block] += (preds - found.get(0, zeros)).square().sum()
    return Paired(losses, distances if isinstance(task, Regression) else None, null, failed)


def common_points(scopes: Sequence[Scope]) -> list[int]:
    """The points that every model reads and the task scores.

    Raises:
        MesascopeError: There are none.
    """
    points = sorted(set.intersection(*(set(scope.counted_points) for scope in scopes)))
    if not points:
        read = "; ".join(f"{scope.source} reads {_span(scope.counted_points)}" for scope in scopes)
        raise MesascopeError(f"no point is read by all: {read}; compare models that read a common point")
    return points


def _predictions(
    scopes: Sequence[Scope], batches: Sequence[Prompts], points: list[int], failed: dict[int, str]
) -> dict[int, Float[Tensor, "batch n_common *d_out"]]:
    """Of each model that did not fail yet; one that does now is noted."""
    found = {}
    for model, (scope, batch) in enumerate(zip(scopes, batches, strict=True)):
        if model in failed:
            continue
        try:
            found[model] = _at(scope, batch, points)
        except Exception as error:
            if (reason := reason_of(error)) is None:
                raise
            failed[model] = reason
    return found


def _at(scope: Scope, prompts: Prompts, points: list[int]) -> Float[Tensor, "batch n_common *d_out"]:
    read = list(scope.model.read_points(prompts.n_points))
    return scope.predict(prompts)[:, [read.index(point) for point in points]].cpu()


def _span(points: tuple[int, ...]) -> str:
    return f"point {points[0]}" if len(points) == 1 else f"points {points[0]} to {points[-1]}"
