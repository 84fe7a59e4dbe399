"""Similarity of errors: do two predictors err alike, prompt by prompt?"""

import torch
from jaxtyping import Float
from torch import Tensor


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
    a, b = preds_a - ys, preds_b - ys
    # Below this an error is rounding, and its direction means nothing.
    rounding = 1e-9 * ys.norm(dim=-1)
    norm_a, norm_b = a.norm(dim=-1), b.norm(dim=-1)
    exact_a, exact_b = norm_a <= rounding, norm_b <= rounding
    cosine = (a * b).sum(-1) / (norm_a * norm_b)
    cosine = cosine.where(cosine.isfinite(), 0.0).clamp(-1.0, 1.0)
    return torch.where(exact_a | exact_b, (exact_a & exact_b).to(cosine.dtype), cosine)
