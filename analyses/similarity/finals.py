"""The members that were chosen, scored on prompts of their own, with every null beside them."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.similarity.bench import Bench
from mesascope.analyses.similarity.match import LayerSimilarity, Match
from mesascope.models import Prompts
from mesascope.probes import cosine_interval
from mesascope.probes.similarity import Roster


class Finals:
    """The chosen members, scored: layers, their nulls and planted learners against them.

    Args:
        bench: The model and its measure.
        roster: Every member.
        finalists: Indices of the members to score against.
        planted: Indices of those to score as if they were the model.
        n_prompts: Prompts to score on; a quarter for the untrained twins.
    """

    def __init__(self, bench: Bench, roster: Roster, finalists: Sequence[int], planted: Sequence[int], n_prompts: int):
        self.roster, self.planted = roster, planted
        self.columns = {index: column for column, index in enumerate(finalists)}
        as_model = partial(bench.given, roster.only(planted))

        def everyone(prompts: Prompts) -> Tensor:
            own = bench.own(prompts)
            return torch.cat([own, bench.measure.swapped(own), torch.zeros_like(own[:1]), as_model(prompts)])

        self.sums = bench.tally(n_prompts, "similarity", everyone, roster.only(finalists))
        self.mean = self.sums.mean
        self.n_layers = (len(self.mean) - 1 - len(planted)) // 2
        self.twins: Float[Tensor, "n_twins n_layers n_finalists"] | None = None
        if bench.scope.untrained:
            few = bench.at_least(n_prompts // 4)
            twins = bench.tally(few, "similarity", bench.twins, roster.only(finalists)).mean
            self.twins = twins.unflatten(0, (-1, self.n_layers))

    def layer(self, layer: int, label: str, chosen: dict[str, int]) -> LayerSimilarity:
        """A layer's matches, the most similar first.

        Args:
            layer: Its index.
            label: Its name.
            chosen: The index of each family's member.
        """
        matches = (self._match(layer, index) for index in chosen.values())
        return LayerSimilarity(label, tuple(sorted(matches, key=lambda match: -match.similarity.value)))

    def _match(self, layer: int, index: int) -> Match:
        at, n, learner = self.columns[index], self.n_layers, self.roster.members[index]
        zero, shuffled = 2 * n, n + layer
        higher = max(zero, shuffled, key=lambda row: self.mean[row, at].item())
        return Match(
            family=learner.family,
            learner=learner,
            similarity=self.sums.estimate(layer, at),
            zero=self.mean[zero, at].item(),
            shuffled=self.mean[shuffled, at].item(),
            lead=self.sums.estimate(layer, at, beyond=higher),
            untrained=None if self.twins is None else cosine_interval(self.twins[:, layer, at]),
        )

    def of_planted(self, planted: int, index: int) -> float:
        """Similarity of a planted member to another."""
        row = len(self.mean) - len(self.planted) + self.planted.index(planted)
        return self.mean[row, self.columns[index]].item()

    def by_part(self, index: int) -> tuple[float, ...]:
        """Similarity of the output to a member, part by part."""
        return tuple(self.sums.by_part[:, self.n_layers - 1, self.columns[index]].tolist())
