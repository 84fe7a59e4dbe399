"""The spectral response g(λ) of any predictor, from its plain predictions, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.errors import MesascopeError
from mesascope.probes.jackknife import Estimate, jackknife_ratio, jackknifed, share_explained
from mesascope.probes.spectrum import UNITS, Parts, Spectrum
from mesascope.probes.spline_regression import KNOTS, Basis, Normal

N_GRID = 40
"""Eigenvalues at which a response is given."""


@dataclass(frozen=True)
class Response:
    """One predictor's g(λ) at one point, with intervals."""

    point: int
    n_knots: int
    eigenvalues: tuple[float, ...]
    """λ/t at which `g` is given: from the 1% to the 99% quantile of where predictions can come from."""
    g: tuple[Estimate, ...]
    """Fraction of w recovered; pointwise intervals, without the bias of a smooth curve (measured coverage .90)."""
    explained: dict[str, Estimate]
    """Share of Σŷ² that a filter explains on prompts not fitted, by unit of λ; 0 for the zero predictor."""
    unit: str
    """The unit that explains most; "points" unless another is clearly better."""

    @property
    def ceiling(self) -> Estimate:
        """The share explained in the unit chosen: what no filter surpasses."""
        return self.explained[self.unit]


def fit_responses(
    spectrum: Spectrum, preds: Float[Tensor, "n_labels batch"], knots: Sequence[int] = KNOTS
) -> tuple[Response, ...]:
    """The responses of several predictors at one point, each with its own number of knots.

    Args:
        spectrum: The prompts at that point.
        preds: What each predicts there.
        knots: Numbers of knots to choose from, on blocks left out.

    Raises:
        MesascopeError: No prompt has a response there, or predictions are not finite.
    """
    if not spectrum.products.any():
        raise MesascopeError(f"point={spectrum.point}: every y or x before it is zero, so there is no response")
    targets = spectrum.targets(preds).T
    sizes = Normal.of(targets[:, :0], targets).YY
    chosen = {unit: _chosen(spectrum.parts(unit), targets, knots) for unit in UNITS}
    low, high = spectrum.parts().quantiles([0.01, 0.99]).tolist()
    grid = torch.linspace(low, high, N_GRID, dtype=torch.float64)
    responses = []
    for label, size in enumerate(sizes.T):
        basis, normal = chosen["points"][label]
        values = basis.values(grid)
        errors = {unit: best[label][1].held_out[:, label] for unit, best in chosen.items()}
        responses.append(
            Response(
                point=spectrum.point,
                n_knots=len(basis.knots),
                eigenvalues=tuple(grid.exp().tolist()),
                g=tuple(jackknifed(values @ normal.total.coef[:, label], normal.left_out.coef[..., label] @ values.T)),
                explained={unit: share_explained(error, size) for unit, error in errors.items()},
                unit=_best_unit(errors, size),
            )
        )
    return tuple(responses)


def _chosen(parts: Parts, targets: Float[Tensor, "batch n_labels"], knots: Sequence[int]) -> list[tuple[Basis, Normal]]:
    """For each label the basis and normal equations of the number of knots that explains blocks left out best."""
    bases = [Basis.of(parts, n_knots) for n_knots in knots]
    fits = [(basis, Normal.of(basis.features(parts), targets)) for basis in bases]
    errors = torch.stack([normal.held_out.sum(0) for _, normal in fits])  # [knots, label]
    return [fits[index] for index in errors.argmin(0).tolist()]


def _best_unit(errors: dict[str, Float[Tensor, " n_blocks"]], sizes: Float[Tensor, " n_blocks"]) -> str:
    """The unit with the least errors, if its lead over "points" is beyond its interval."""
    best = min(errors, key=lambda unit: errors[unit].sum().item())
    lead = errors["points"] - errors[best]
    return best if lead.any() and jackknife_ratio(lead, sizes).low > 0 else "points"
