"""Similarity of errors and of weights: do two predictors err alike, and do they hold the same weight vector?"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mesascope.models.learners.base import IterativeLearner, Learner, Sweep
from mesascope.models.prompts import Prompts
from mesascope.models.streams import generator
from mesascope.probes.induced import Predict, antipodal_queries, weights_by_queries
from mesascope.probes.jackknife import Estimate, jackknife_ratio

Directions = Float[Tensor, "n_some n_units n_parts width"]
"""Unit vectors whose inner products are similarities. A unit is what one similarity is taken over, a part one of
several that are averaged, such as after several prefixes."""


def error_directions(
    preds: Float[Tensor, "*lead batch n_read"], ys: Float[Tensor, "batch n_read"]
) -> Float[Tensor, "*lead batch width"]:
    """Vectors whose inner products are similarities of errors: (ŷ − y)/|ŷ − y|, and one more coordinate.

    The extra coordinate is 1 for an exact predictor, whose error has no direction: exact ones are similar to each
    other and to nothing else. A predictor that diverged beyond float range is the zero vector, similar to nothing.
    """
    errors = preds - ys
    norm = errors.norm(dim=-1, keepdim=True)
    # Below this an error is rounding, and its direction means nothing.
    exact = norm <= 1e-9 * ys.norm(dim=-1, keepdim=True)
    units = (errors / norm).where(norm.isfinite() & ~exact, 0.0)
    return torch.cat([units, exact.to(units.dtype)], dim=-1)


def weight_directions(weights: Float[Tensor, "*lead n_dims"]) -> Float[Tensor, "*lead n_dims"]:
    """Vectors whose inner products are similarities of weights: w/|w|; zero, similar to nothing, where w has none."""
    norm = weights.norm(dim=-1, keepdim=True)
    return (weights / norm).where(norm.isfinite() & (norm > 0), 0.0)


def similarity_of_errors(
    preds_a: Float[Tensor, "*a batch n_read"],
    preds_b: Float[Tensor, "*b batch n_read"],
    ys: Float[Tensor, "batch n_read"],
) -> Float[Tensor, "*broadcast batch"]:
    """cos(ŷ_a − y, ŷ_b − y) over the points of each prompt.

    In [−1, 1], symmetric, 1 for equal predictions (also when both are exact). An exact predictor against an inexact
    one has similarity 0, and so has one that diverged beyond float range against any. Leading axes broadcast.

    It sees the direction of an error vector, not its size: y + 2 (ŷ − y) is as similar to anything as ŷ is.

    It cannot tell learners apart by itself: true Newton against its best-matching GD scores .98-1.00, and the zero
    predictor scores .92 against one Newton step (methods, section 8). Read it beside its floor and ceiling.

    Source: Fu et al. (2024), definition 2; departure: defined for exact and for diverged predictors.
    """
    return (error_directions(preds_a, ys) * error_directions(preds_b, ys)).sum(-1).clamp(-1.0, 1.0)


def similarity_of_weights(
    weights_a: Float[Tensor, "*a n_dims"], weights_b: Float[Tensor, "*b n_dims"]
) -> Float[Tensor, "*broadcast"]:
    """cos(w_a, w_b) of the weights that two predictors hold after the same points.

    In [−1, 1], symmetric, blind to the size of either; 0 where one of them is zero or not finite. Leading axes
    broadcast.

    Source: Fu et al. (2024), definition 3.
    """
    return (weight_directions(weights_a) * weight_directions(weights_b)).sum(-1).clamp(-1.0, 1.0)


class SimilaritySums:
    """Similarities of every subject to every rival, summed over prompts as they come.

    Memory grows with subjects and rivals but not with prompts. `a + b` adds those of other prompts.

    Args:
        n_blocks: Blocks of prompts, for the jackknife.
    """

    def __init__(self, n_blocks: int):
        self.counts = torch.zeros(n_blocks, dtype=torch.float64)
        """Units in each block."""
        self.sums = torch.zeros(n_blocks, 0, 0, 0, dtype=torch.float64)
        """[block, part, subject, rival]."""

    def update(
        self,
        blocks: Int[Tensor, " n_units"],
        subjects: Float[Tensor, "n_subjects n_units n_parts width"],
        rivals: Iterable[Float[Tensor, "_ n_units n_parts width"]],
    ) -> "SimilaritySums":
        """Count one batch of units.

        Args:
            blocks: The block that each unit belongs to.
            subjects: Their directions.
            rivals: Directions of the rivals, some at a time, so that they need not all be held.
        """
        products = torch.cat([torch.einsum("aupf,mupf->upam", subjects, some) for some in rivals], dim=-1)
        if not self.sums.numel():
            self.sums = products.new_zeros(len(self.counts), *products.shape[1:])
        self.sums.index_add_(0, blocks.to(products.device), products)
        self.counts += torch.bincount(blocks.cpu(), minlength=len(self.counts))
        return self

    def __add__(self, other: "SimilaritySums") -> "SimilaritySums":
        out = SimilaritySums(len(self.counts))
        out.sums, out.counts = self.sums + other.sums, self.counts + other.counts
        return out

    @property
    def by_part(self) -> Float[Tensor, "n_parts n_subjects n_rivals"]:
        """Mean over units, part by part."""
        return self.sums.sum(0) / self.counts.sum()

    @property
    def mean(self) -> Float[Tensor, "n_subjects n_rivals"]:
        """Mean over units and parts."""
        return self.by_part.mean(0)

    def estimate(self, subject: int, rival: int, beyond: int | None = None) -> Estimate:
        """The mean with its delete-a-block jackknife interval, which ends at 1.

        Args:
            subject: Which subject.
            rival: Which rival.
            beyond: Another subject, whose similarity to the same rival is subtracted unit by unit.
        """
        sums = self.sums[:, :, subject, rival].mean(1)
        if beyond is not None:
            sums = sums - self.sums[:, :, beyond, rival].mean(1)
        found = jackknife_ratio(sums, self.counts.to(sums))
        return Estimate(found.value, found.low, found.high if beyond is not None else min(found.high, 1.0))


class Roster:
    """The members of some sweeps in one list."""

    def __init__(self, sweeps: Sequence[Sweep]):
        self.sweeps = tuple(sweeps)
        self.places = [(index, step) for index, sweep in enumerate(self.sweeps) for step in sweep.steps]

    @cached_property
    def members(self) -> tuple[Learner, ...]:
        """Each learner at each number of steps."""
        return tuple(member for sweep in self.sweeps for member in sweep.members())

    def only(self, indices: Sequence[int]) -> "Roster":
        """Some of the members, in the order of their indices."""
        steps: dict[int, list[int]] = {}
        for index in indices:
            sweep, step = self.places[index]
            steps.setdefault(sweep, []).append(step)
        return Roster([Sweep(self.sweeps[sweep].learner, tuple(chosen)) for sweep, chosen in steps.items()])

    def best(self, scores: Float[Tensor, " n_members"]) -> dict[str, int]:
        """The index of each family's best member."""
        out: dict[str, int] = {}
        for index in scores.argsort(descending=True, stable=True).tolist():
            out.setdefault(self.members[index].family, index)
        return out

    def rows(self, sweep: int) -> slice:
        """Where a sweep's members are."""
        start = sum(len(other.steps) for other in self.sweeps[:sweep])
        return slice(start, start + len(self.sweeps[sweep].steps))


class Measure(ABC):
    """One way of comparing predictors with learners: what each gives on prompts, and its directions."""

    by: ClassVar[str]
    unit: int
    """Prompts that one similarity is taken over."""

    @abstractmethod
    def read(self, predict: Predict, prompts: Prompts) -> Float[Tensor, "n_labels batch *rest"]:
        """What every label of a predictor, such as a layer, gives."""

    @abstractmethod
    def predict(self, sweep: Sweep, prompts: Prompts) -> Float[Tensor, "n_members batch *rest"]:
        """What every member of a sweep gives."""

    @abstractmethod
    def directions(self, values: Float[Tensor, "n_some batch *rest"], prompts: Prompts) -> Directions:
        """Directions of what was given."""

    def swapped(self, values: Float[Tensor, "n_some batch *rest"]) -> Float[Tensor, "n_some batch *rest"]:
        """The same for another prompt: each unit's neighbour's."""
        return values.unflatten(1, (-1, 2, self.unit)).flip(2).flatten(1, 3)


class ByErrors(Measure):
    """By errors at some points.

    Args:
        read: The points that the predictor reads.
        points: Those whose errors count.
        unit: Prompts that one similarity is taken over; more than one where too few points are read for a cosine.
    """

    by: ClassVar[str] = "errors"

    def __init__(self, read: range, points: Sequence[int], unit: int):
        self.points, self.unit = list(points), unit
        self.kept = [read.index(point) for point in points]

    def read(self, predict: Predict, prompts: Prompts) -> Float[Tensor, "n_labels batch n_kept"]:
        """Every label's predictions."""
        return predict(prompts)[..., self.kept]

    def predict(self, sweep: Sweep, prompts: Prompts) -> Float[Tensor, "n_members batch n_kept"]:
        """Every member's predictions."""
        return sweep.predict(prompts)[..., self.points]

    def directions(self, values: Float[Tensor, "n_some batch n_kept"], prompts: Prompts) -> Directions:
        """Directions of their errors, unit by unit."""
        ys = self._grouped(prompts.ys[..., self.points].double())
        return error_directions(self._grouped(values), ys)[..., None, :]

    def _grouped(self, values: Float[Tensor, "*lead batch n_kept"]) -> Float[Tensor, "*lead n_units n_errors"]:
        return values.unflatten(-2, (-1, self.unit)).flatten(-2)


class ByWeights(Measure):
    """By induced weights after some prefixes, each a part.

    Args:
        prefixes: Points seen.
        seed: Seed of the queries.
    """

    by: ClassVar[str] = "weights"
    unit = 1

    def __init__(self, prefixes: Sequence[int], seed: int):
        self.prefixes, self.seed = list(prefixes), seed

    def read(self, predict: Predict, prompts: Prompts) -> Float[Tensor, "n_labels batch n_prefixes n_dims"]:
        """Every label's induced weights; the queries are the same for every predictor."""
        rng = generator(self.seed, "similarity queries", device=prompts.xs.device)
        queries = antipodal_queries(prompts, rng, n_frames=1)
        found = [weights_by_queries(predict, prompts, prefix, queries).weights for prefix in self.prefixes]
        return torch.stack(found, dim=2)

    def predict(self, sweep: Sweep, prompts: Prompts) -> Float[Tensor, "n_members batch n_prefixes n_dims"]:
        """Every member's weights."""
        learner = sweep.learner
        if not isinstance(learner, IterativeLearner):
            weights: Tensor = learner.weights(prompts)  # type: ignore[attr-defined]  # see `holds_weights`
            return weights[None, :, self.prefixes]
        d = prompts.decomposition
        found = [coefficients[:, self.prefixes] for coefficients in learner.coefficients(d, sweep.steps)]
        return torch.einsum("btij,mbtj->mbti", d.basis[:, self.prefixes], torch.stack(found))

    def directions(self, values: Float[Tensor, "n_some batch n_prefixes n_dims"], prompts: Prompts) -> Directions:
        """Directions of the weights, prefix by prefix."""
        return weight_directions(values)


def holds_weights(learner: Learner) -> bool:
    """Whether a learner predicts from weights that it can name."""
    return hasattr(learner, "weights")
