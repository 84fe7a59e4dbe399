"""The same checks away from what the model was trained on: x or w scaled, labels replaced."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mesascope.analyses.claim import as_json
from mesascope.analyses.side_checks.agreement import CONSTRUCTION, N_BLOCKS, Predict, estimate
from mesascope.models import Prompts
from mesascope.models.streams import generator
from mesascope.probes import Estimate, block_sums

SCALES = (0.5, 0.75, 1.0, 1.5, 2.0)
"""Factors on x or on w; von Oswald et al. go from .5 to 2 and from .5 to 5."""
REPLACED = (0.0, 0.1, 0.2, 0.4)
"""Shares of the context's labels that are replaced; 2 and 4 of 10 are von Oswald et al.'s."""
X_SCALE, W_SCALE, LABELS = "x scaled", "w scaled", "labels replaced"


@dataclass(frozen=True)
class Shifted:
    """Some predictors on shifted prompts."""

    kind: str
    by: float
    """The factor, or the number of labels."""
    losses: Mapping[str, Estimate]
    """E (ŷ − y)² / E y² by predictor, where y is that of the shifted query."""
    differences: Mapping[str, Estimate]
    """(E (ŷ − ŷ')² / E y²)^½ of every predictor, ŷ' the construction's."""
    shares: Mapping[str, Estimate]
    """(E (ŷ − ŷ')² / E (ŷ' − y)²)^½: what is left of the construction's own error, where that is large."""

    @property
    def in_distribution(self) -> bool:
        """Whether nothing was shifted."""
        return self.by == (0.0 if self.kind == LABELS else 1.0)

    @property
    def label(self) -> str:
        """In words."""
        if self.kind == LABELS:
            return f"{self.by:.0f} labels replaced"
        return f"{self.kind} by {self.by:g}"

    def data(self) -> dict[str, Any]:
        """Every number."""
        return {
            "kind": self.kind,
            "by": self.by,
            "losses": {name: as_json(loss) for name, loss in self.losses.items()},
            "differences": {name: as_json(found) for name, found in self.differences.items()},
            "shares": {name: as_json(found) for name, found in self.shares.items()},
        }


def under_shifts(predictors: Mapping[str, Predict], prompts: Prompts, w_std: float, seed: int) -> tuple[Shifted, ...]:
    """Every predictor's loss on the same prompts, shifted.

    Args:
        predictors: By name; one is the `CONSTRUCTION`.
        prompts: Of a linear task, with their w.
        w_std: Scale of w.
        seed: Seed of the labels that are put in.
    """
    return tuple(_measure(kind, by, predictors, shifted) for kind, by, shifted in shifted_prompts(prompts, w_std, seed))


def shifted_prompts(prompts: Prompts, w_std: float, seed: int) -> Iterator[tuple[str, float, Prompts]]:
    """All shifts, by kind and size, of the same draws."""
    for factor in SCALES:
        yield X_SCALE, factor, scaled(prompts, x=factor)
    for factor in SCALES:
        yield W_SCALE, factor, scaled(prompts, w=factor)
    n_context = prompts.n_points - 1
    for n_replaced in sorted({round(share * n_context) for share in REPLACED}):
        yield LABELS, float(n_replaced), with_replaced_labels(prompts, n_replaced, w_std, seed)


def scaled(prompts: Prompts, x: float = 1.0, w: float = 1.0) -> Prompts:
    """Longer x or w; noise stays as it was.

    Args:
        prompts: Of a linear task, with their w.
        x: Factor on x.
        w: Factor on w.
    """
    assert prompts.w is not None
    clean = torch.einsum("bnd,bd->bn", prompts.xs, prompts.w)
    return Prompts(x * prompts.xs, prompts.ys + (x * w - 1) * clean, w * prompts.w)


def with_replaced_labels(prompts: Prompts, n_replaced: int, w_std: float, seed: int) -> Prompts:
    """Some of the context's labels, at random places, become w_std·ε, ε ~ N(0, 1), whatever their x; the query's stays.

    Source: von Oswald et al. (2023), "noisy labels" in its code, where w_std = 1.
    """
    rng = generator(seed, "replaced labels", device=prompts.ys.device)
    shape = (len(prompts), prompts.n_points - 1)
    order = torch.rand(shape, generator=rng, device=rng.device).argsort(dim=1)
    noise = w_std * torch.randn(shape, generator=rng, device=rng.device, dtype=torch.float64)
    labels = torch.where(order < n_replaced, noise.to(prompts.ys), prompts.ys[:, :-1])
    return Prompts(prompts.xs, torch.cat([labels, prompts.ys[:, -1:]], dim=1), prompts.w)


@torch.no_grad()
def _measure(kind: str, by: float, predictors: Mapping[str, Predict], prompts: Prompts) -> Shifted:
    ys = prompts.ys[:, -1].double()
    preds = {name: predict(prompts).double() for name, predict in predictors.items()}

    theirs = preds[CONSTRUCTION]

    def relative(squares: Tensor, sizes: Tensor, power: float = 1.0) -> Estimate:
        sums = block_sums(torch.stack([squares, sizes], dim=1).cpu(), min(N_BLOCKS, len(ys)))
        return estimate(lambda s: torch.where(s[0] == 0, 0.0, s[0] / s[1]) ** power, sums)

    return Shifted(
        kind,
        by,
        {name: relative((pred - ys).square(), ys.square()) for name, pred in preds.items()},
        {name: relative((pred - theirs).square(), ys.square(), 0.5) for name, pred in preds.items()},
        {name: relative((pred - theirs).square(), (theirs - ys).square(), 0.5) for name, pred in preds.items()},
    )
