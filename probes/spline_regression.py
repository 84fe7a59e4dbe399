"""Linear regression of predictions on splines of log λ, block by block of prompts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import BSpline
from torch import Tensor

from mesascope.probes.jackknife import N_BLOCKS
from mesascope.probes.spectrum import Parts

DEGREE, KNOTS = 3, (2, 3, 4, 6, 8, 12, 16)
"""Of the splines; the numbers of knots among which cross-validation chooses."""


@dataclass(frozen=True)
class Basis:
    """Cubic B-splines of log λ, constant beyond the outermost knots."""

    knots: np.ndarray

    @staticmethod
    def of(parts: Parts, n_knots: int) -> "Basis":
        """Knots at quantiles of log λ; few distinct eigenvalues have few distinct quantiles, and so fewer knots."""
        knots = parts.quantiles(np.linspace(0, 1, n_knots).tolist())
        # Closer than rounding they are one.
        return Basis(knots[np.r_[True, np.diff(knots) > 1e-9 * max(1.0, np.abs(knots).max())]])

    def values(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape n_splines"]:
        """B_k(x) for every k; they add up to 1."""
        if len(self.knots) == 1:
            return torch.ones(*x.shape, 1, dtype=torch.float64)
        ends = (np.repeat(self.knots[0], DEGREE), self.knots, np.repeat(self.knots[-1], DEGREE))
        padded = np.concatenate(ends)
        n_splines = len(padded) - DEGREE - 1
        clamped = x.double().clamp(self.knots[0], self.knots[-1]).numpy()
        return torch.from_numpy(BSpline(padded, np.eye(n_splines), DEGREE)(clamped))

    def features(self, parts: Parts) -> Float[Tensor, "batch n_splines"]:
        """Σ_i B_k(log λ_i) z_i, in which ŷ is linear."""
        return torch.einsum("bi,bik->bk", parts.z, self.values(parts.x))


@dataclass(frozen=True)
class Normal:
    """Normal equations FᵀF β = FᵀŶ of a least-squares fit, block by block of prompts."""

    FF: Float[Tensor, "*blocks n_features n_features"]
    FY: Float[Tensor, "*blocks n_features n_targets"]
    YY: Float[Tensor, "*blocks n_targets"]

    @staticmethod
    def of(features: Float[Tensor, "batch n_features"], targets: Float[Tensor, "batch n_targets"]) -> "Normal":
        """Blocks of nearly equal size."""
        pairs = [*zip(*(rows.tensor_split(N_BLOCKS) for rows in (features, targets)), strict=True)]
        FF, FY, YY = zip(*((F.T @ F, F.T @ Y, Y.square().sum(0)) for F, Y in pairs), strict=True)
        return Normal(torch.stack(FF), torch.stack(FY), torch.stack(YY))

    @cached_property
    def total(self) -> "Normal":
        """All blocks as one."""
        return Normal(self.FF.sum(0), self.FY.sum(0), self.YY.sum(0))

    @cached_property
    def left_out(self) -> "Normal":
        """All blocks but one, for each of them."""
        whole = self.total
        return Normal(whole.FF - self.FF, whole.FY - self.FY, whole.YY - self.YY)

    @cached_property
    def coef(self) -> Float[Tensor, "*blocks n_features n_targets"]:
        """β of least norm, of features scaled alike: where no eigenvalue lies, a spline has no data."""
        scale = self.FF.diagonal(dim1=-2, dim2=-1).sqrt()
        scale = scale.where(scale > 0, 1.0)[..., None]
        inverse = torch.linalg.pinv(self.FF / scale / scale.mT, rtol=1e-11, hermitian=True)
        return inverse @ (self.FY / scale) / scale

    def errors(self, coef: Float[Tensor, "*blocks n_features n_targets"]) -> Float[Tensor, "*blocks n_targets"]:
        """Σ (ŷ − Fβ)²."""
        return (self.YY + (coef * (self.FF @ coef - 2 * self.FY)).sum(-2)).clamp(min=0.0)

    @cached_property
    def held_out(self) -> Float[Tensor, "*blocks n_targets"]:
        """Errors on each block of a fit to all others."""
        return self.errors(self.left_out.coef)
