"""All that a filter of S_t sees of some prompts: eigenvalues, and what each eigendirection could add to ŷ_t."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.errors import MesascopeError, nearest
from mesascope.models.prompts import Prompts
from mesascope.probes.jackknife import N_BLOCKS

BATCH = 512
"""Prompts decomposed at once."""
UNITS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "points": lambda eigenvalues, t: torch.full_like(eigenvalues[..., :1], max(t, 1)),
    "frobenius": lambda eigenvalues, t: (eigenvalues**4).sum(-1, keepdim=True) ** 0.25,
    "top": lambda eigenvalues, t: eigenvalues.amax(-1, keepdim=True),
}
"""What λ is measured in: t, as where the step size is fixed; ‖SSᵀ‖_F^½ or λ_max, as where it adapts to the prompt."""


@dataclass(frozen=True)
class Parts:
    """What each eigendirection of S_t would add to ŷ_t if all of w were recovered along it: ŷ_t = Σ_i g(λ_i) z_i."""

    x: Float[Tensor, "batch n_dims"]
    """log λ_i in some unit; 0 where λ_i = 0."""
    z: Float[Tensor, "batch n_dims"]
    """z_i = a_i c_i/λ_i, which add up to what least squares predicts; 0 where λ_i = 0: the points say nothing there."""

    def quantiles(self, levels: Sequence[float]) -> np.ndarray:
        """Of log λ, each λ_i weighing |z_i|; at levels 0 and 1 the outermost with any weight; 0 without any."""
        x, weight = self.x.flatten().numpy(), self.z.flatten().abs().numpy()
        if not weight.any():
            return np.zeros(len(levels))
        # With noise and as many points as dimensions, a few z of nearly singular prompts would outweigh all others.
        weight = np.minimum(weight, 10 * np.median(weight[weight > 0]))
        order = np.argsort(x)
        reached = np.cumsum(weight[order])
        wanted = np.clip(np.array(levels) * reached[-1], np.nextafter(0, 1), reached[-1])
        return x[order][np.searchsorted(reached, wanted)]


@dataclass(frozen=True)
class Spectrum:
    """All that a filter of S_t sees of the prompts at one point: ŷ_t = Σ_i m(λ_i) a_i c_i; float64, on the CPU."""

    point: int
    """t, the length of the prefix."""
    eigenvalues: Float[Tensor, "batch n_dims"]
    """λ, ascending."""
    products: Float[Tensor, "batch n_dims"]
    """a_i c_i, with a = Uᵀx_t and c = Uᵀb_t."""

    @staticmethod
    def of(prompts: Prompts, points: Sequence[int]) -> list["Spectrum"]:
        """The spectra at some points; prompts are decomposed in batches, unless all prefixes are wanted or known."""
        rows: list[list[tuple[Tensor, Tensor]]] = [[] for _ in points]
        known = "decomposition" in vars(prompts) or len(points) == prompts.n_points
        for part in [prompts] if known else prompts.split(BATCH):
            d = part.decomposition if known else part.prefixes(points)
            for index, row in enumerate(rows):
                place = points[index] if known else index
                row.append((d.eigenvalues[:, place].cpu(), (d.queries[:, place] * d.moments[:, place]).cpu()))
        columns = [[torch.cat(pieces) for pieces in zip(*row, strict=True)] for row in rows]
        return [Spectrum(point, *column) for point, column in zip(points, columns, strict=True)]

    def first(self, n_prompts: int) -> "Spectrum":
        """Of the first prompts alone."""
        return Spectrum(self.point, self.eigenvalues[:n_prompts], self.products[:n_prompts])

    def parts(self, unit: str = "points") -> Parts:
        """λ in a unit of `UNITS`, and z.

        Raises:
            MesascopeError: There is no such unit.
        """
        if unit not in UNITS:
            raise MesascopeError(f"no unit of λ is called {unit!r}{nearest(unit, UNITS)}")
        inside = self.eigenvalues > 0
        safe, scale = self.eigenvalues.where(inside, 1.0), UNITS[unit](self.eigenvalues, self.point)
        x = (safe / scale.where(scale > 0, 1.0)).log().where(inside, 0.0)
        return Parts(x, (self.products / safe).where(inside, 0.0))

    def targets(self, preds: Float[Tensor, "n_labels batch"]) -> Float[Tensor, "n_labels batch"]:
        """Predictions in float64 on the CPU; zero where they are rounding beside those of least squares.

        Raises:
            MesascopeError: Some are NaN or infinite, or there are fewer than two prompts for each block.
        """
        if preds.shape[1] < 2 * N_BLOCKS:
            raise MesascopeError(f"n_prompts={preds.shape[1]}: a spectral response needs at least {2 * N_BLOCKS}")
        preds, z = preds.double().cpu(), self.parts().z
        if not preds.isfinite().all():
            raise MesascopeError(f"some predictions at point {self.point} are NaN or infinite; leave their prompts out")
        rounding = preds.square().sum(1) <= 1e-20 * z.sum(1).square().sum()
        return preds.masked_fill(rounding[:, None], 0.0)
