"""Every family is fitted to predictions, on prompts that are never scored."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations, islice

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models import Learner, Prompts
from mesascope.models.battery import EARNED, Target, battery, bounded, polish, refine, refine_mixtures
from mesascope.models.learners.base import Sweep
from mesascope.models.learners.zero import Zero

N_TRIED, N_FIRST = 8, 6
"""Grid points of a family that are tried on few prompts, all of one with many starts, and evaluations for each."""
N_REFINED, N_PROMISING = 3, 2
"""Those that are then refined on all, and of a family with many starts."""
SETTLED = 0.1
"""Part of what is negligible: a target that is explained up to it needs no richer learner."""
HOPELESS = 0.5
"""A family that leaves this share unexplained at its best grid point is not refined: nothing near explains it."""
N_MIXED, N_PAIRS, UNSEEN = 64, 6, 1e-4
"""Prompts on which all mixtures of two members are tried, pairs of families that are refined, and the share that the
grid is too coarse to tell."""


class Contest:
    """Rivals with their predictions on tuning prompts; any predictions may enter.

    Args:
        prompts: The tuning prompts.
        points: The points that count.
        sweeps: The rivals over grids of their scalars.
    """

    def __init__(self, prompts: Prompts, points: Sequence[int], sweeps: Sequence[Sweep]):
        self.prompts, self.points = prompts, list(points)
        self.members, preds = battery(prompts, [*sweeps, Sweep(Zero())], self.points)
        self.preds = bounded(preds, prompts, self.points)  # [member, prompt, point]
        self.squares = self.preds.square().sum((1, 2))

    def fit(
        self,
        preds: Float[Tensor, "batch n_counted"],
        n_refined: int = N_REFINED,
        unexplainable: float = 0.0,
        among: Collection[str] | None = None,
    ) -> dict[str, Learner]:
        """The member of each family that imitates some predictions best, the nearest family first.

        Args:
            preds: Bounded predictions on the contest's prompts.
            n_refined: Members of each family on the grid whose scalars are refined.
            unexplainable: Σ (ŷ − its best conceivable prediction)².
            among: Names of families; default all but zero.
        """
        size, distances = preds.square().sum(), self.distances(preds)
        candidates: dict[str, list[Learner]] = {}
        for index in distances.argsort().tolist():
            member = self.members[index]
            if member.family != Zero.family and (among is None or member.family in among):
                candidates.setdefault(member.family, []).append(member)
        target = Target(self.prompts, self.points, preds, unexplainable)
        settled = SETTLED * target.negligible
        found: dict[str, Learner] = {}
        # Richer families last: where a special case of theirs explains all, theirs need not be looked for.
        for family, members in sorted(candidates.items(), key=lambda item: item[1][0].multi_start):
            # Not where each is the other's special case, as scheduled GD and GD++ are: both must be tried.
            simpler = [found[name] for name in members[0].limits if name in found and family not in found[name].limits]
            reached = min(map(target.distance, simpler), default=math.inf)
            hopeless = not members[0].multi_start and target.distance(members[0]) > HOPELESS * size
            if n_refined == 0 or hopeless or reached <= settled:
                found[family] = members[0]
            elif members[0].multi_start and n_refined > 1:
                found[family] = _from_many_starts(members, target)
            else:
                few = target.few()
                tried = [polish(learner, few, N_FIRST) for learner in islice(_apart(members), N_TRIED)]
                polished = [polish(learner, target) for learner in sorted(tried, key=few.distance)[:n_refined]]
                found[family] = refine(min([members[0], *polished], key=target.distance), target)
        return dict(sorted(found.items(), key=lambda item: target.distance(item[1])))

    def target(self, learner: Learner) -> Float[Tensor, "batch n_counted"]:
        """A learner's bounded predictions, as if it were the model."""
        return bounded(learner.predict_at(self.prompts, self.points), self.prompts, self.points)

    def distances(self, preds: Float[Tensor, "batch n_counted"]) -> Float[Tensor, " n_members"]:
        """Σ (ŷ_member − ŷ)² of every member on the grid."""
        along = torch.einsum("mbp,bp->m", self.preds, preds)
        return (self.squares + preds.square().sum() - 2 * along).clamp(min=0.0)

    def explained(self, preds: Float[Tensor, "batch n_counted"]) -> float:
        """Share of some predictions that the nearest member on the grid explains; 0 at least, since zero is one."""
        size = preds.square().sum()
        return (1 - self.distances(preds).min() / size).clamp(0.0, 1.0).item() if size > 0 else 0.0

    @cached_property
    def _gram(self) -> Float[Tensor, "n_members n_members"]:
        part = self.preds[:, :N_MIXED].flatten(1)
        return part @ part.T

    def blend(self, preds: Float[Tensor, "batch n_counted"]) -> list[tuple[Learner, Learner]]:
        """The pairs of members of two families whose mixtures imitate some predictions best, one a pair of families.

        Every pair on the grid is tried, in closed form, and the best are refined. A learner mixed with zero is a
        scaled one.
        """
        part = preds[:N_MIXED].flatten()
        products, size = self.preds[:, :N_MIXED].flatten(1) @ part, part.square().sum().item()
        squares = self._gram.diagonal()
        along = products[:, None] - products - self._gram + squares  # [a, b]: ⟨ŷ − b, a − b⟩
        apart = (squares[:, None] + squares - 2 * self._gram).clamp(min=0.0)
        t = along / apart
        left = size + squares - 2 * products - t * along
        left = left.where((t > 0) & (t < 1) & (apart > 1e-12 * size), torch.inf)
        families = [member.family for member in self.members]
        rows = {name: torch.tensor([i for i, family in enumerate(families) if family == name]) for name in families}
        best = []
        for a, b in combinations(rows, 2):
            block = left[rows[a]][:, rows[b]]
            value, where = block.min().item(), divmod(int(block.argmin()), block.shape[1])
            pair = int(rows[a][where[0]]), int(rows[b][where[1]])
            n_scalars = sum(len(self.members[index].parameters()) for index in pair)
            best.append((math.log(value / size + UNSEEN) + EARNED * n_scalars, *pair))
        target = Target(self.prompts, self.points, preds)
        return refine_mixtures([(self.members[a], self.members[b]) for _, a, b in sorted(best)[:N_PAIRS]], target)


def _from_many_starts(starts: Sequence[Learner], target: Target) -> Learner:
    """The best optimum over many starts, with as few scalars as will do.

    All starts of one number of scalars are refined on few prompts, and the most promising on all.
    """
    few, bests = target.few(), []
    for n_scalars in sorted({len(learner.parameters()) for learner in starts}):
        group = [learner for learner in starts if len(learner.parameters()) == n_scalars]
        tried = [*group, *(polish(learner, few, N_FIRST) for learner in group)]
        promising = sorted(tried, key=target.distance)[:N_PROMISING]
        bests.append(min((polish(learner, target) for learner in promising), key=target.distance))
        if target.distance(bests[-1]) <= SETTLED * target.negligible:
            break
    # What the spline leaves is no more than a guess of the noise: a learner may leave less.
    known = replace(target, unexplainable=min([target.unexplainable, *map(target.distance, bests)]))
    return min(bests, key=known.criterion)


def _apart(learners: Sequence[Learner]) -> Iterator[Learner]:
    """The nearest learner of each number of steps: the others would be refined to the same."""
    seen = set()
    for learner in learners:
        key = (getattr(learner, "n_steps", None), getattr(learner, "loss", None))
        if key not in seen or not getattr(learner, "any_steps", False):
            seen.add(key)
            yield learner
