"""How far two predictors do the same: predictions, sensitivities, losses and errors."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.claim import as_json
from mesascope.models import HookedRegressor, Prompts
from mesascope.probes import Estimate, block_sums, jackknifed, weights_by_jacobian
from mesascope.probes.similarity import similarity_of_weights

MODEL, CONSTRUCTION, UNTRAINED, CLOSED_FORM = "model", "construction", "untrained twin", "closed form"
"""What is held against what."""
SAME, NOT_SAME = "the same", "not the same"
N_BLOCKS = 20
BATCH = 512
"""Prompts predicted at once."""
LOSS_RATIO, COSINE, SIMILARITY = 1.01, 0.999, 0.99
"""What "is one step of gradient descent" wants: losses that differ by no more than this factor, and at least these
cosines of sensitivities and of errors. Each alone is too little: a wrong learner reaches a cosine of .95."""
ALIKE = 0.1
"""Difference of predictions, relative to y, up to which two predictors are alike: 1% of the mean square."""
BEYOND = 0.5
"""Part of the nearest null's difference that the model's must be below."""
EXACT = 1e-10
"""Mean square error, relative to that of predicting zero, below which an error is rounding."""

Predict = Callable[[Prompts], Float[Tensor, " batch"]]
"""Predictions of the last point of each prompt."""


@dataclass(frozen=True)
class Behaviour:
    """What a predictor does at the last point of some prompts."""

    preds: Float[Tensor, " batch"]
    slopes: Float[Tensor, "batch n_dims"]
    """∂ŷ/∂x_q."""

    @staticmethod
    def of(predict: Predict, prompts: Prompts) -> "Behaviour":
        """Predict and differentiate; zero behaves as `Behaviour.zero`."""
        slopes = weights_by_jacobian(lambda part: predict(part)[None, :, None], prompts, prompts.n_points - 1)[0]
        with torch.no_grad():
            return Behaviour(predict(prompts).double(), slopes)

    @staticmethod
    def zero(prompts: Prompts) -> "Behaviour":
        """That of predicting zero."""
        return Behaviour(torch.zeros_like(prompts.ys[:, -1]).double(), torch.zeros_like(prompts.xs[:, -1]).double())


def at_the_query(model: HookedRegressor) -> Predict:
    """A model as a predictor of the last point."""
    return lambda prompts: torch.cat([model(part.xs, part.ys)[:, -1] for part in prompts.split(BATCH)])


@dataclass(frozen=True)
class Agreement:
    """One predictor beside another, each number with an interval that is clustered by prompt."""

    difference: Estimate
    """(E (ŷ − ŷ')² / E y²)^½."""
    cosine: Estimate
    """Mean over prompts of cos(∂ŷ/∂x_q, ∂ŷ'/∂x_q); in one dimension, where that is a sign, of all prompts together."""
    slope_difference: Estimate
    """(E |∂ŷ/∂x_q − ∂ŷ'/∂x_q|² / E |∂ŷ'/∂x_q|²)^½."""
    loss: Estimate
    """E (ŷ − y)² / E y²: 1 for predicting zero."""
    other_loss: Estimate
    """The same of ŷ'."""
    loss_ratio: Estimate
    """The one over the other."""
    similarity: Estimate
    """Cosine of ŷ − y and ŷ' − y over all prompts."""

    @staticmethod
    def of(mine: Behaviour, theirs: Behaviour, ys: Float[Tensor, " batch"]) -> "Agreement":
        """Hold one against the other.

        Args:
            mine: Of ŷ.
            theirs: Of ŷ', to which ratios and differences are relative.
            ys: At the last point.
        """
        ys = ys.double()
        error, other, gap = mine.preds - ys, theirs.preds - ys, mine.slopes - theirs.slopes
        columns = [
            (mine.preds - theirs.preds).square(),
            ys.square(),
            error.square(),
            other.square(),
            error * other,
            similarity_of_weights(mine.slopes, theirs.slopes),
            torch.ones_like(ys),
            gap.square().sum(-1),
            theirs.slopes.square().sum(-1),
            mine.slopes.square().sum(-1),
            (mine.slopes * theirs.slopes).sum(-1),
        ]
        sums = block_sums(torch.stack(columns, dim=1).cpu(), min(N_BLOCKS, len(ys)))
        gap2, y2, e2, o2, eo, cosines, n, slope_gap2, slope2, own_slope2, slopes = range(len(columns))
        pooled = mine.slopes.shape[1] == 1
        return Agreement(
            difference=estimate(lambda s: _root(s[gap2], s[y2]), sums),
            cosine=_at_most_one(
                estimate(lambda s: _cosine(s[slopes], s[own_slope2], s[slope2], s[own_slope2]), sums)
                if pooled
                else estimate(lambda s: s[cosines] / s[n], sums)
            ),
            slope_difference=estimate(lambda s: _root(s[slope_gap2], s[slope2]), sums),
            loss=estimate(lambda s: s[e2] / s[y2], sums),
            other_loss=estimate(lambda s: s[o2] / s[y2], sums),
            loss_ratio=estimate(lambda s: _ratio(s[e2], s[o2], s[y2]), sums),
            similarity=_at_most_one(estimate(lambda s: _cosine(s[eo], s[e2], s[o2], s[y2]), sums)),
        )

    @property
    def verdict(self) -> str:
        """Whether losses, sensitivities and errors all agree: "the same", "not the same" or "undetermined"."""
        ratio = self.loss_ratio
        passed = [
            ratio.low >= 1 / LOSS_RATIO and ratio.high <= LOSS_RATIO,
            self.cosine.low >= COSINE,
            self.similarity.low >= SIMILARITY,
        ]
        failed = [
            ratio.low > LOSS_RATIO or ratio.high < 1 / LOSS_RATIO,
            self.cosine.high < COSINE,
            self.similarity.high < SIMILARITY,
        ]
        return SAME if all(passed) else NOT_SAME if any(failed) else "undetermined"

    def data(self) -> dict[str, Any]:
        """Every number."""
        return {field.name: as_json(getattr(self, field.name)) for field in fields(self)} | {"verdict": self.verdict}


def estimate(statistic: Callable[[Float[Tensor, " k"]], Tensor], sums: Float[Tensor, "n_blocks k"]) -> Estimate:
    """A function of sums over prompts, with its interval by leaving out one block of prompts at a time.

    Infinite if the statistic is not finite, as of a predictor that diverged.
    """
    total = sums.sum(0)
    value, left_out = statistic(total), torch.stack([statistic(total - block) for block in sums])
    if not (value.isfinite() and left_out.isfinite().all()):
        return Estimate(torch.inf, torch.inf, torch.inf)
    (found,) = jackknifed(value[None], left_out[:, None])
    return found


def _root(square: Tensor, size: Tensor) -> Tensor:
    return torch.where(square == 0, 0.0, square / size).sqrt()


def _ratio(mine: Tensor, theirs: Tensor, size: Tensor) -> Tensor:
    """1 of two that are exact."""
    floor = EXACT * size
    return mine.clamp(min=floor) / theirs.clamp(min=floor)


def _cosine(product: Tensor, mine: Tensor, theirs: Tensor, size: Tensor) -> Tensor:
    """1 of two that are exact, 0 of one that is and another that is not."""
    exact = (mine <= EXACT * size).int() + (theirs <= EXACT * size).int()
    return torch.where(exact > 0, (exact == 2).to(product), product / (mine * theirs).sqrt())


def _at_most_one(found: Estimate) -> Estimate:
    """An interval of cosines; one that diverged stays infinite."""
    return found if found.value == torch.inf else Estimate(found.value, found.low, min(found.high, 1.0))
