"""Interchange: a run on one prompt continued with what another prompt's activations hold."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Stream = Float[Tensor, "batch pos d_model"]
Features = Float[Tensor, "batch d_features"]
ROUNDING = 1e-6
"""Of a difference of activations: what is shorter is none."""


@dataclass(frozen=True)
class Site:
    """Token positions whose activations are read and set together, as one vector of features for each prompt."""

    name: str
    positions: tuple[int, ...]

    def read(self, resid: Stream) -> Features:
        """The activations there, one position after the other."""
        return resid[:, list(self.positions)].flatten(1)

    def write(self, resid: Stream, features: Features) -> Stream:
        """The same stream with other activations there."""
        changed = resid.clone()
        changed[:, list(self.positions)] = features.to(resid).unflatten(1, (len(self.positions), -1))
        return changed


@dataclass(frozen=True)
class PatternInterchange:
    """Set what a readout W reads of the base to what it reads of the source, and hold what others read.

    With C = [W, held] and Σ the covariance of activations, h ← h + Σ C (Cᵀ Σ C)⁺ [Wᵀ(h_A − h), 0]: along the patterns
    with which activations vary, such that the held readings stay.

    `SubspaceInterchange` of TransformerLens sets the same readings by the least change of h, along W itself. The
    coefficients of a readout also cancel whatever else varies, and may point where activations never go and no weight
    reads: it then moves nothing though the variable is used. Along the pattern alone everything moves that is
    correlated with what is read, used or not; hence what is held.

    Source: Haufe et al. (2014), eq. 6, for the pattern of a linear readout; holding other readings is ours.
    """

    coef: Float[Tensor, "d_features rank"]
    """W."""
    pattern: Float[Tensor, "rank d_features"]
    """What is added to h for each unit by which a reading is to change."""
    own: float
    """Least share of a reading's variance, in any direction, that the held readings do not hold too."""

    @staticmethod
    def of(
        coef: Float[Tensor, "d_features rank"],
        covariance: Float[Tensor, "d_features d_features"],
        held: Float[Tensor, "d_features n_held"] | None = None,
    ) -> "PatternInterchange":
        """The interchange of a readout's coefficients.

        Args:
            coef: W.
            covariance: Σ.
            held: Coefficients of the readings that stay; none by default.
        """
        rank, C = coef.shape[1], coef if held is None else torch.cat([coef, held], dim=1)
        along = covariance @ C
        G = C.mT @ along
        # Readings have units of their own: scaled alike, one cut-off means the same for all.
        scale = G.diagonal().clamp(min=0).sqrt()
        scale = scale.where(scale > 0, 1.0)
        inverse = torch.linalg.pinv(G / scale / scale[:, None], hermitian=True, rtol=1e-10) / scale / scale[:, None]
        return PatternInterchange(coef, inverse[:rank] @ along.mT, _own_share(G, rank))

    def __call__(self, base: Features, source: Features) -> Features:
        """The base with the source's readings."""
        return base + ((source - base) @ self.coef) @ self.pattern

    def placebo(self, base: Features, source: Features) -> Features:
        """The base moved as far towards the source, by what the interchange leaves of their difference.

        What is read stays, and all else goes the same part of its way, held readings included. The same as the base
        where source and base differ in nothing else.
        """
        apart, moved = source - base, self(base, source) - base
        rest = apart - moved
        size, far, whole = (rows.norm(dim=1, keepdim=True) for rows in (rest, moved, apart))
        return base + rest * (far / size).where(size > ROUNDING * whole, 0.0)


def _own_share(G: Float[Tensor, "n n"], rank: int) -> float:
    """The smallest eigenvalue of the first readings' covariance given the others, in units of without them."""
    alone, cross, others = G[:rank, :rank], G[:rank, rank:], G[rank:, rank:]
    scale = others.diagonal().clamp(min=0).sqrt()
    scale = scale.where(scale > 0, 1.0)
    others = torch.linalg.pinv(others / scale / scale[:, None], hermitian=True, rtol=1e-10) / scale / scale[:, None]
    eigenvalues, basis = torch.linalg.eigh(alone)
    kept = eigenvalues > 1e-12 * eigenvalues.max().clamp(min=1e-300)
    if not kept.any():
        return 0.0
    white = basis[:, kept] / eigenvalues[kept].sqrt()
    shared = white.mT @ cross @ others @ cross.mT @ white
    return float((1 - torch.linalg.eigvalsh(shared)[-1]).clamp(min=0.0)) if rank < len(G) else 1.0
