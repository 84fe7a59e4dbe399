"""What is held against one layer: every family's nearest member, mixtures of two, and the ceiling."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.identification.ceiling import Stack
from mesascope.analyses.identification.contest import Contest
from mesascope.models import Learner, Prompts
from mesascope.models.battery import Target, bounded
from mesascope.probes import Estimate, Products, SplineFilter, choose_filter

PRED, Y = "ŷ", "y"
CEILINGS = ("spline", "stack")
KNOTS = (3, 6, 12)
"""Numbers of knots that the spline's cross-validation chooses from."""
N_NEAREST = 3
"""Rank on the tuning prompts down to which slow learners are scored."""


@dataclass(frozen=True)
class Candidates:
    """Everything that was fitted to one layer's predictions, on the tuning prompts."""

    learners: dict[str, Learner]
    """Every family's nearest member."""
    blends: tuple[tuple[Learner, Learner, Estimate], ...]
    """Pairs, with the share of the first, whose mixture may be near; none where a single family is."""
    spline: SplineFilter
    stack: Stack

    @staticmethod
    def of(contest: Contest, preds: Float[Tensor, "batch n_counted"], worth: bool = True) -> "Candidates":
        """Fit to bounded predictions on the contest's prompts; roughly, if they are not worth more."""
        prompts, points = contest.prompts, contest.points
        spline = choose_filter(prompts, preds, points, KNOTS)
        noise = (preds - bounded(spline.predict(prompts), prompts, points)).square().sum().item()
        learners = contest.fit(preds, unexplainable=noise) if worth else contest.fit(preds, n_refined=0)
        # A learner that must be fitted prefix by prefix costs more than all others: far off, it need not be scored.
        learners = {f: x for rank, (f, x) in enumerate(learners.items()) if x.batched or rank < N_NEAREST}
        stack = Stack(list(learners.values())).fit(Target(prompts, points, preds))
        return Candidates(learners, (), spline, stack)

    def products(
        self, prompts: Prompts, points: Sequence[int], preds: Float[Tensor, "batch n_counted"], n_blocks: int
    ) -> Products:
        """Products of the predictions, the truth and all candidates, on any prompts."""
        target = Target(prompts, points, preds)
        vectors = {PRED: preds, Y: prompts.ys[:, list(points)].double()}
        vectors |= {family: target.predict(learner) for family, learner in self.learners.items()}
        vectors |= {
            "spline": bounded(self.spline.predict(prompts), prompts, points),
            "stack": self.stack.predict(target),
        }
        for index, (*pair, _) in enumerate(self.blends):
            vectors |= {f"blend {index}{side}": target.predict(x) for side, x in zip("ab", pair, strict=True)}
        return Products.of(vectors, n_blocks)
