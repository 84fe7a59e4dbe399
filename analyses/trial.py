"""Layers and learners on the same prompts: who errs like whom."""

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.layers import predict_layers
from mesascope.analyses.scope import Scope
from mesascope.models import FilterLearner
from mesascope.models.battery import battery, refine, rivals
from mesascope.probes import Estimate, block_sums, jackknife_ratio, similarity_of_errors

N_BLOCKS, N_REFINED = 20, 6


class Trial:
    """Predictions of every layer, cut to the points that count and grouped into units of similarity.

    Args:
        scope: Where to look.
        n_prompts: Prompts; a multiple of `unit`.
        stream: Their stream.
        n_fit: Prompts to fit the layers' readouts on.
        points: Points whose errors count.
        unit: Prompts whose errors make one vector; more than one where a model reads too few points for a cosine.
    """

    def __init__(self, scope: Scope, n_prompts: int, stream: str, n_fit: int, points: list[int], unit: int):
        layers = predict_layers(scope, n_prompts, stream, n_fit)
        read = scope.model.read_points(scope.task.n_points)
        self.task, self.prompts, self.labels = scope.regression, layers.prompts, layers.labels
        self.n_prompts, self.points, self.unit = n_prompts, points, unit
        self.ys = self._as_units(layers.prompts.ys)
        self.preds = self._grouped(layers.preds[..., [read.index(point) for point in points]])

    def _as_units(self, values: Float[Tensor, "*lead n_prompts n_points"]) -> Float[Tensor, "*lead units errors"]:
        return self._grouped(values[..., self.points])

    def _grouped(self, values: Float[Tensor, "*lead n_prompts n_kept"]) -> Float[Tensor, "*lead units errors"]:
        return values.double().unflatten(-2, (-1, self.unit)).flatten(-2)

    def predictions(self, learner: FilterLearner) -> Float[Tensor, "units errors"]:
        """What a learner predicts on these prompts."""
        return self._as_units(learner.predict(self.prompts))

    def similarity(self, preds: Float[Tensor, "units errors"], learner: FilterLearner) -> Float[Tensor, " units"]:
        """Similarity of errors of some predictions to a learner's, unit by unit."""
        return similarity_of_errors(preds, self.predictions(learner), self.ys)

    def skill(self, index: int) -> Estimate:
        """Mean over units of cos(ŷ, y): 0 for predicting zero, whatever the noise, and blind to a few that blow up."""
        cosine = torch.nn.functional.cosine_similarity(self.preds[index], self.ys, dim=-1).nan_to_num(0.0)
        return self._mean(cosine, torch.ones_like(cosine))

    def unexplained(self, preds: Float[Tensor, "units errors"], learner: FilterLearner) -> Estimate:
        """Σ|ŷ − ŷ_learner|² over the smaller of Σ|ŷ_learner − y|² and Σ|ŷ_learner|².

        Relative to the learner's error *and* to its prediction: either may be small, and then agreement on the other
        says little.
        """
        exact = self.predictions(learner)
        missed = (preds - exact).square().sum(-1)
        error, size = (exact - self.ys).square().sum(-1), exact.square().sum(-1)
        return self._mean(missed, size if size.sum() < error.sum() else error)

    @staticmethod
    def _mean(numerator: Float[Tensor, " units"], denominator: Float[Tensor, " units"]) -> Estimate:
        return jackknife_ratio(block_sums(numerator, N_BLOCKS), block_sums(denominator, N_BLOCKS))

    @cached_property
    def _grid(self) -> tuple[list[FilterLearner], Float[Tensor, "n_learners units errors"]]:
        learners, predictions = battery(self.prompts, rivals(self.task))
        return learners, self._as_units(predictions)

    def grid_similarities(self, preds: Float[Tensor, "units errors"]) -> dict[FilterLearner, float]:
        """Mean similarity of some predictions to every rival on the grid."""
        learners, predictions = self._grid
        means = similarity_of_errors(preds, predictions, self.ys).mean(-1)
        return dict(zip(learners, means.tolist(), strict=True))

    def choose(self, preds: Float[Tensor, "units errors"]) -> dict[str, FilterLearner]:
        """The member of each family that some predictions are most similar to, the most similar family first."""
        candidates: dict[str, list[FilterLearner]] = {}
        for learner, _ in sorted(self.grid_similarities(preds).items(), key=lambda item: -item[1]):
            candidates.setdefault(learner.family, []).append(learner)

        def score(learner: FilterLearner) -> float:
            return float(self.similarity(preds, learner).mean())

        # The best grid point need not lie on the highest ridge: a few are refined.
        refined = {
            family: max((refine(learner, score) for learner in members[:N_REFINED]), key=score)
            for family, members in candidates.items()
        }
        return dict(sorted(refined.items(), key=lambda item: -score(item[1])))


def confusion(learners: list[FilterLearner], tune: Trial, score: Trial) -> tuple[tuple[float, ...], ...]:
    """Each learner, planted as if it were the model, matched on `tune` and scored on `score`.

    Entry (i, j) is the similarity of learner i to the best-matching member of learner j's family.
    """
    rows = []
    for planted in learners:
        chosen = tune.choose(tune.predictions(planted))
        preds = score.predictions(planted)
        rows.append(tuple(score.similarity(preds, chosen[other.family]).mean().item() for other in learners))
    return tuple(rows)
