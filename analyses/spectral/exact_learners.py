"""Exact learners that predict as a layer does on the same prompts, by family."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from mesascope.models import FilterLearner, GradientDescent, Newton, Ridge
from mesascope.probes import Spectrum, fit_exponents, fit_responses

NEAR = 0.01
"""Share of the predictions by which a family's member may be farther off than its nearest and still count as near."""
MOST_NEAR, FAR = 6, 1e50
"""Members of a family whose exponents are looked at; and how far off a prediction can be."""


@dataclass(frozen=True)
class Rival:
    """One family of exact learners, beside one layer."""

    nearest: str
    """The member that predicts most alike on the same prompts."""
    explained: float
    """Share of the layer's predictions that it explains."""
    p: tuple[float, float] | None
    """Least and greatest exponent of those as near as it; None where they have converged, or are of another shape."""
    g: tuple[float, ...]
    """Its response, through the same spline; at the reference prefix alone."""


class ExactLearners:
    """Exact GD, Newton and ridge over their strengths on one spectrum.

    Args:
        spectrum: The prompts at one point.
        others: Further learners to hold layers against.
    """

    def __init__(self, spectrum: Spectrum, others: Sequence[FilterLearner] = ()):
        self.spectrum, self.grids = spectrum, [*_grids(spectrum), *([learner] for learner in others)]
        self.preds = [torch.stack([self.predict(learner) for learner in grid]) for grid in self.grids]

    def predict(self, learner: FilterLearner) -> Float[Tensor, " batch"]:
        """What a learner predicts at the point."""
        eigenvalues = self.spectrum.eigenvalues
        counts = torch.full_like(eigenvalues[:, :1], self.spectrum.point)
        (multiplier,) = learner.multiplier(eigenvalues, counts, [learner.n_steps])
        # GD that diverges on a few prompts is as far off as numbers go.
        preds = (self.spectrum.products * multiplier).sum(1)
        return preds.nan_to_num(nan=FAR, posinf=FAR, neginf=-FAR).clamp(-FAR, FAR)

    def rivals(
        self, preds: Float[Tensor, " batch"], unit: str, near: float = NEAR, drawn: bool = False
    ) -> dict[str, Rival]:
        """Each family's nearest and the exponents of those nearly as near, by family.

        Args:
            preds: What is held against them.
            unit: Of the exponents.
            near: Share of Σŷ² by which a member may be farther off than its family's nearest.
            drawn: Whether to give responses too.
        """
        size, found = preds.square().sum().item(), {}
        nearest_by_family = self._nearest(preds, near * size)
        exact = torch.stack([self.predict(learner) for members in nearest_by_family.values() for _, learner in members])
        exponents = iter(fit_exponents(self.spectrum, exact, unit))
        for family, members in nearest_by_family.items():
            distance, nearest = members[0]
            ps = [exponent.p.value for exponent in islice(exponents, len(members)) if exponent.identified]
            ends = (min(ps), max(ps)) if ps else None
            g = fit_responses(self.spectrum, self.predict(nearest)[None])[0].g if drawn else ()
            found[family] = Rival(nearest.label, 1 - distance / size, ends, tuple(e.value for e in g))
        return found

    def _nearest(self, preds: Float[Tensor, " batch"], slack: float) -> dict[str, list[tuple[float, FilterLearner]]]:
        """By family, the nearest of each grid that comes within `slack` of the family's nearest, that one first."""
        coarse: dict[str, list[tuple[float, FilterLearner]]] = {}
        for grid, exact in zip(self.grids, self.preds, strict=True):
            distance, index = (exact - preds).square().sum(1).min(0)
            coarse.setdefault(grid[0].family, []).append((distance.item(), grid[int(index)]))
        near = {}
        for family, members in sorted(coarse.items()):
            least = min(distance for distance, _ in members)
            polished = [self._polish(learner, preds) for distance, learner in members if distance <= least + 5 * slack]
            polished.sort(key=lambda pair: pair[0])
            # Where all have converged, one more of them says nothing.
            near[family] = [pair for pair in polished if pair[0] <= polished[0][0] + slack][:MOST_NEAR]
        return near

    def _polish(self, learner: FilterLearner, preds: Float[Tensor, " batch"]) -> tuple[float, FilterLearner]:
        """The member nearest to some predictions around one of the grid, if it has a scalar to move."""

        def distance(value: float) -> float:
            return float((self.predict(learner.with_parameters(np.array([value]))) - preds).square().sum())

        if not learner.scalars:
            return float((self.predict(learner) - preds).square().sum()), learner
        (start,) = learner.parameters()
        found = minimize_scalar(distance, bounds=(start - 0.8, start + 0.8), method="bounded", options={"xatol": 1e-4})
        return float(found.fun), learner.with_parameters(np.array([found.x]))


def _grids(spectrum: Spectrum) -> Iterator[Sequence[FilterLearner]]:
    """GD with each number of steps over step sizes to where more than one would diverge, Newton, ridge over penalties.

    Newton from 2/λ_max² is left out: what it loses at the top of the spectrum no exponent describes.
    """
    top = spectrum.eigenvalues[:, -1].quantile(0.99).item() / spectrum.point
    middle = spectrum.eigenvalues[spectrum.eigenvalues > 0].median().item()
    for k in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512, 1024, 2048, 4096):
        yield [GradientDescent(k, share / top) for share in np.geomspace(0.03, 4, 17).tolist()]
    for alpha in ("frobenius", "twice_frobenius"):
        yield from ([Newton(k, alpha)] for k in range(1, 31))
    yield [Ridge(middle * 10**power) for power in np.linspace(-4, 3, 22).tolist()]
