"""The filter of S that explains some predictions best: a cubic spline of log λ at every point."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.errors import MesascopeError
from mesascope.models.prompts import Prompts
from mesascope.probes.spectrum import UNITS, Spectrum
from mesascope.probes.spline_regression import KNOTS, Basis, Normal


class SplineFilter:
    """A filter ŷ_t = Σ_i g_t(λ_i) z_i whose responses g_t are cubic splines of log λ, fitted to predictions.

    It is linear regression on `Basis.features`, point by point. With enough knots it is the most that any filter of S
    can explain.

    Args:
        n_knots: Knots, the outermost included.
        unit: What λ is measured in, see `UNITS`.
    """

    def __init__(self, n_knots: int = 6, unit: str = "points"):
        self.n_knots, self.unit = n_knots, unit

    def fit(self, prompts: Prompts, preds: Float[Tensor, "batch n_fitted"], points: Sequence[int]) -> "SplineFilter":
        """Forget earlier data, then fit predictions at some points; O(batch · n_fitted · n_dims · n_knots).

        Raises:
            MesascopeError: There are too few knots or prompts, predictions that are not finite, or no such unit.
        """
        return self.fit_spectra(Spectrum.of(prompts, points), preds)

    def fit_spectra(self, spectra: Sequence[Spectrum], preds: Float[Tensor, "batch n_fitted"]) -> "SplineFilter":
        """The same with the spectra of the prompts at hand."""
        if self.n_knots < 2:
            raise MesascopeError(f"n_knots={self.n_knots}: expected at least 2, for the outermost count")
        parts = [spectrum.parts(self.unit) for spectrum in spectra]
        bases = [Basis.of(part, self.n_knots) for part in parts]
        normals = [
            Normal.of(basis.features(part), spectrum.targets(column[None]).T)
            for spectrum, basis, part, column in zip(spectra, bases, parts, preds.T, strict=True)
        ]
        self.points_ = tuple(spectrum.point for spectrum in spectra)
        self.bases_, self.coefs_ = bases, [normal.total.coef[:, 0] for normal in normals]
        left = [(normal.held_out.sum().item(), normal.YY.sum().item()) for normal in normals]
        # By point, the share of Σŷ² left on blocks of prompts by filters fitted to all others.
        self.unexplained_ = [error / size if size else 0.0 for error, size in left]
        return self

    def predict(self, prompts: Prompts) -> Float[Tensor, "batch n_fitted"]:
        """Predictions at the fitted points, float64.

        Raises:
            ValueError: It was not fitted.
        """
        if not hasattr(self, "coefs_"):
            raise ValueError("this filter was not fitted; call fit first")
        fitted = zip(Spectrum.of(prompts, self.points_), self.bases_, self.coefs_, strict=True)
        columns = [basis.features(spectrum.parts(self.unit)) @ coef for spectrum, basis, coef in fitted]
        return torch.stack(columns, dim=1).to(prompts.xs.device)


def choose_filter(
    prompts: Prompts, preds: Float[Tensor, "batch n_fitted"], points: Sequence[int], knots: Sequence[int] = KNOTS
) -> SplineFilter:
    """The spline filter, fitted, with the number of knots and the unit that explain blocks never fitted best.

    Every point counts alike, whatever the size of its predictions.

    Args:
        prompts: Prompts; blocks of them are left out in turn.
        preds: Predictions at `points`.
        points: The points.
        knots: Numbers of knots to choose from.

    Raises:
        MesascopeError: There are too few knots or prompts, or predictions that are not finite.
    """
    spectra = Spectrum.of(prompts, points)
    fitted = (SplineFilter(n_knots, unit).fit_spectra(spectra, preds) for unit in UNITS for n_knots in knots)
    return min(fitted, key=lambda candidate: sum(candidate.unexplained_))
