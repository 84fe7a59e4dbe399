"""From products of predictions to the numbers that a verdict depends on."""

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.identification.candidates import CEILINGS, PRED, Candidates, Y
from mesascope.analyses.identification.judging import EXACT, Blend, Evidence, Match
from mesascope.probes import Estimate, Products, distances, mixing

N_BOOTSTRAPS = 2000
ROUNDING = 1e-4
"""Part of Σŷ² below which a learner's error is no unit: an exact one has none, and rounding would decide."""


def gather(
    candidates: Candidates,
    products: Products,
    skill: Estimate,
    untrained_skill: Estimate | None,
    rng: torch.Generator,
) -> Evidence:
    """Distances, what is missed beyond the ceiling, and who beats whom in how many bootstraps over prompts."""
    families = list(candidates.learners)
    # The sum over all prompts first, then its resamples: everything below is computed for all of them at once.
    sums = torch.cat([products.total[None].cpu(), products.bootstrap(N_BOOTSTRAPS, rng)])
    rows = [products.index(family) for family in families]
    pred, y = products.index(PRED), products.index(Y)
    size = sums[:, pred, pred]
    far = distances(sums, pred)
    left = far[:, rows]  # [resample, family]
    order = left[0].argsort().tolist()
    families, rows, left = [families[i] for i in order], [rows[i] for i in order], left[:, order]
    # Who misses what is asked of those who are no party to it: the nearest family would miss nothing of itself.
    others = torch.stack([far[:, products.index(name)] for name in CEILINGS]).amin(0)
    ceiling = torch.minimum(others, left.amin(1))
    scale = torch.minimum(distances(sums, y)[:, rows], sums.diagonal(dim1=1, dim2=2)[:, rows])
    scale = scale.clamp(min=ROUNDING * size[:, None])
    missed = (left - ceiling[:, None]) / scale
    closeness = (left[0, 0] - others[0]) / (left[0] - others[0])
    matches = tuple(
        Match(
            family=family,
            label=candidates.learners[family].label,
            unexplained=_estimate(left[:, i] / size),
            missed=_estimate(missed[:, i]),
            beaten=(left[1:, 0] < left[1:, i] - 1e-9 * size[1:]).double().mean().item(),
            closeness=closeness[i].nan_to_num(1.0).item(),
            n_scalars=len(candidates.learners[family].parameters()),
        )
        for i, family in enumerate(families)
    )
    return Evidence(
        matches=matches,
        ceiling=_estimate(1 - ceiling / size),
        skill=skill,
        untrained_skill=untrained_skill,
        limits={family: type(candidates.learners[family]).limits for family in families},
        blends=_blends(candidates, products, sums, ceiling, left.amin(1)),
    )


def _blends(
    candidates: Candidates, products: Products, sums: Tensor, ceiling: Tensor, nearest: Tensor
) -> tuple[Blend, ...]:
    pred, y = products.index(PRED), products.index(Y)
    found = []
    for index, blend in enumerate(candidates.blends):
        rows = products.index(f"blend {index}a"), products.index(f"blend {index}b")
        t, left = mixing(sums, pred, rows)
        found.append((blend, left, _unit(sums, t, *rows, pred, y)))
    found.sort(key=lambda item: item[1][0].item())
    return tuple(
        Blend(
            families=(a.family, b.family),
            labels=(a.label, b.label),
            t=share,
            missed=_estimate((left - torch.minimum(ceiling, found[0][1])) / scale),
            beaten=(found[0][1][1:] < left[1:]).double().mean().item(),
            unexplained=_estimate(left / sums[:, pred, pred]),
            gained=(nearest[1:] - left[1:] > EXACT * scale[1:]).double().mean().item(),
        )
        for (a, b, share), left, scale in found
    )


def _unit(sums: Tensor, t: Tensor, a: int, b: int, pred: int, y: int) -> Tensor:
    """The smaller of a blend's squared error and prediction."""
    unit = torch.minimum(_error(sums, t, a, b, y), _size(sums, t, a, b))
    return torch.maximum(unit, ROUNDING * sums[:, pred, pred])


def _size(sums: Tensor, t: Tensor, a: int, b: int) -> Tensor:
    """Σ (t·a + (1−t)·b)²."""
    return t**2 * sums[:, a, a] + 2 * t * (1 - t) * sums[:, a, b] + (1 - t) ** 2 * sums[:, b, b]


def _error(sums: Tensor, t: Tensor, a: int, b: int, y: int) -> Tensor:
    """Σ (t·a + (1−t)·b − y)²."""
    return _size(sums, t, a, b) - 2 * (t * sums[:, a, y] + (1 - t) * sums[:, b, y]) + sums[:, y, y]


def _estimate(values: Float[Tensor, " n_resamples"]) -> Estimate:
    """The value on all prompts, which comes first, with the percentile interval of its resamples."""
    low, high = torch.quantile(values[1:].double(), torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(values[0].item(), low, high)
