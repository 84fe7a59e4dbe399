"""Second moments of activations and targets: all that a linear readout needs, in one pass and constant memory."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_ROWS, _LANES = 512, 4
"""Z is built and multiplied in chunks of lanes × rows, so that it is still in cache when the product reads it; the
lanes are one batched product, which spreads over two cores better than one long product."""


@dataclass
class Moments:
    """ZᵀZ in float64 for Z = [h, y, 1], for every group of a grid of groups.

    Groups are leading axes, such as (block of prompts, position). Indexing gives a view, so that
    `moments[block].update(…)` fills one block; `+` and `sum` merge, `-` leaves out. Two workers' moments add up to
    one's.
    """

    products: Float[Tensor, "*groups width width"]
    """ZᵀZ; width = d_h + d_y + 1."""
    d_h: int

    @staticmethod
    def zeros(d_h: int, d_y: int, groups: tuple[int, ...] = (), device: torch.device | str = "cpu") -> "Moments":
        """Nothing seen yet."""
        width = d_h + d_y + 1
        return Moments(torch.zeros(*groups, width, width, dtype=torch.float64, device=device), d_h)

    @staticmethod
    def of(resid: Float[Tensor, "*groups n d_h"], y: Float[Tensor, "*groups n d_y"]) -> "Moments":
        """The moments of one batch."""
        moments = Moments.zeros(resid.shape[-1], y.shape[-1], tuple(resid.shape[:-2]), resid.device)
        return moments.update(resid, y)

    def update(self, resid: Float[Tensor, "*groups n d_h"], y: Float[Tensor, "*groups n d_y"]) -> "Moments":
        """Add a batch in place; O(n · width²), the cost of one matrix product.

        Raises:
            ValueError: The widths or groups are not those of the earlier batches, or the batches differ in length.
        """
        width = self.products.shape[-1]
        expected = (*self.products.shape[:-2], self.d_h, width - self.d_h - 1)
        if (*resid.shape[:-2], resid.shape[-1], y.shape[-1]) != expected or resid.shape[:-1] != y.shape[:-1]:
            raise ValueError(
                f"resid {tuple(resid.shape)} and y {tuple(y.shape)} do not fit moments of groups "
                f"{tuple(self.products.shape[:-2])}, d_h={self.d_h}, d_y={width - self.d_h - 1}; "
                "capture the same layer and targets in every batch"
            )
        n_groups = math.prod(self.products.shape[:-2])
        h, t = (part.reshape(n_groups, part.shape[-2], part.shape[-1]) for part in (resid, y))
        self.products += _products(h, t).view(self.products.shape)
        return self

    def __getitem__(self, index: int | slice) -> "Moments":
        """Groups along the first axis, as a view."""
        return Moments(self.products[index], self.d_h)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.products + other.products, self.d_h)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.products - other.products, self.d_h)

    def sum(self, dim: int | tuple[int, ...] = 0) -> "Moments":
        """Merge groups along one or several leading axes."""
        return Moments(self.products.sum(dim), self.d_h)

    @property
    def n(self) -> Float[Tensor, "*groups"]:
        """Number of rows seen."""
        return self.products[..., -1, -1]

    @property
    def means(self) -> Float[Tensor, "*groups width_1"]:
        """Means of [h, y]."""
        return self.products[..., -1, :-1] / self.n[..., None]

    @property
    def _centred(self) -> Float[Tensor, "*groups width_1 width_1"]:
        # In float64 the subtraction costs about 2 log10(mean/std) of 16 digits.
        means = self.means
        return self.products[..., :-1, :-1] - self.n[..., None, None] * means[..., :, None] * means[..., None, :]

    @property
    def varies(self) -> bool:
        """Whether the activations of some group differ by more than the rounding of their own sums."""
        raw = self.products.diagonal(dim1=-2, dim2=-1)[..., : self.d_h].sum(-1)
        spread = self.S_hh.diagonal(dim1=-2, dim2=-1).sum(-1)
        return bool((spread > 1e-12 * raw).any())

    @property
    def S_hh(self) -> Float[Tensor, "*groups d_h d_h"]:
        """Σ (h − h̄)(h − h̄)ᵀ."""
        return self._centred[..., : self.d_h, : self.d_h]

    @property
    def S_hy(self) -> Float[Tensor, "*groups d_h d_y"]:
        """Σ (h − h̄)(y − ȳ)ᵀ."""
        return self._centred[..., : self.d_h, self.d_h :]

    @property
    def total(self) -> Float[Tensor, "*groups d_y"]:
        """Σ (y − ȳ)², what R² is measured against."""
        return self._centred.diagonal(dim1=-2, dim2=-1)[..., self.d_h :]

    def squared_error(
        self, coef: Float[Tensor, "d_h d_y"], intercept: Float[Tensor, " d_y"]
    ) -> Float[Tensor, "*groups d_y"]:
        """Σ (y − hᵀW − c)² of any affine readout, without seeing the data again."""
        v = torch.cat([-coef, torch.eye(coef.shape[1]).to(coef), -intercept[None]])
        return ((self.products @ v) * v).sum(-2).clamp(min=0.0)


def _products(
    h: Float[Tensor, "n_groups n d_h"], t: Float[Tensor, "n_groups n d_y"]
) -> Float[Tensor, "n_groups width width"]:
    """ZᵀZ of each group, Z = [h, t, 1] built chunk by chunk."""
    n_groups, n, d_h = h.shape
    width, n_chunks = d_h + t.shape[-1] + 1, max(1, math.ceil(n / (_LANES * _ROWS)))
    rows = max(1, math.ceil(n / (_LANES * n_chunks)))
    chunk = _LANES * rows
    Z = torch.empty(n_groups, chunk, width, dtype=torch.float64, device=h.device)
    Z[..., -1] = 1
    lanes = Z.view(n_groups * _LANES, rows, width)
    total = torch.zeros(n_groups * _LANES, width, width, dtype=torch.float64, device=h.device)
    for start in range(0, n, chunk):
        filled = min(chunk, n - start)
        Z[:, :filled, :d_h] = h[:, start : start + filled]
        Z[:, :filled, d_h:-1] = t[:, start : start + filled]
        Z[:, filled:] = 0  # the last chunk's spare rows add nothing
        total.baddbmm_(lanes.mT, lanes)
    return total.view(n_groups, _LANES, width, width).sum(1)
