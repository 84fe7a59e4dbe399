"""Second moments of activations and targets: all that a linear readout needs, in one pass and constant memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

_ROWS, _LANES = 512, 4
"""Activations are converted and multiplied in chunks of lanes × rows, so that they are still in cache when the product
reads them; the lanes are one batched product, which spreads over two cores better than one long product."""


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

    def summed(self, total: Callable[[Tensor], Tensor]) -> "Moments":
        """Merge with other processes' by an all-reduce: `total` is to give the sum of a tensor over them."""
        return Moments(total(self.products), self.d_h)

    @property
    def n(self) -> Float[Tensor, "*groups"]:
        """Number of rows seen."""
        return self.products[..., -1, -1]

    @property
    def means(self) -> Float[Tensor, "*groups width_1"]:
        """Means of [h, y]."""
        return self.products[..., -1, :-1] / self.n[..., None]

    def _centred(self, rows: slice, columns: slice) -> Float[Tensor, "*groups n_rows n_columns"]:
        # In float64 the subtraction costs about 2 log10(mean/std) of 16 digits.
        means = self.means
        shift = means[..., rows, None] * means[..., None, columns]
        return self.products[..., :-1, :-1][..., rows, columns] - self.n[..., None, None] * shift

    @property
    def _variation(self) -> Float[Tensor, "*groups width_1"]:
        """Σ (z − z̄)² of each of [h, y]: the diagonal, for which nothing else is formed."""
        raw = self.products.diagonal(dim1=-2, dim2=-1)[..., :-1]
        return raw - self.n[..., None] * self.means.square()

    @property
    def varies(self) -> bool:
        """Whether the activations of some group differ by more than the rounding of their own sums."""
        raw = self.products.diagonal(dim1=-2, dim2=-1)[..., : self.d_h].sum(-1)
        return bool((self._variation[..., : self.d_h].sum(-1) > 1e-12 * raw).any())

    @property
    def S_hh(self) -> Float[Tensor, "*groups d_h d_h"]:
        """Σ (h − h̄)(h − h̄)ᵀ."""
        return self._centred(slice(self.d_h), slice(self.d_h))

    @property
    def S_hy(self) -> Float[Tensor, "*groups d_h d_y"]:
        """Σ (h − h̄)(y − ȳ)ᵀ."""
        return self._centred(slice(self.d_h), slice(self.d_h, None))

    @property
    def total(self) -> Float[Tensor, "*groups d_y"]:
        """Σ (y − ȳ)², what R² is measured against."""
        return self._variation[..., self.d_h :]

    def squared_error(
        self, coef: Float[Tensor, "d_h d_y"], intercept: Float[Tensor, " d_y"]
    ) -> Float[Tensor, "*groups d_y"]:
        """Σ (y − hᵀW − c)² of any affine readout, without seeing the data again."""
        v = torch.cat([-coef, torch.eye(coef.shape[1]).to(coef), -intercept[None]])
        return ((self.products @ v) * v).sum(-2).clamp(min=0.0)


def _products(
    h: Float[Tensor, "n_groups n d_h"], t: Float[Tensor, "n_groups n d_y"]
) -> Float[Tensor, "n_groups width width"]:
    """ZᵀZ of each group for Z = [h, t, 1], block by block: Z itself is never formed.

    Only h is converted chunk by chunk. Copying the few columns of t between rows of h would cost more than their
    products do.
    """
    n_groups, n, d_h = h.shape
    n_chunks = max(1, math.ceil(n / (_LANES * _ROWS)))
    rows = max(1, math.ceil(n / (_LANES * n_chunks)))
    chunk, d_1, n_lanes = _LANES * rows, t.shape[-1] + 1, n_groups * _LANES
    zeros = partial(torch.zeros, dtype=torch.float64, device=h.device)
    T = zeros(n_groups, n_chunks * chunk, d_1)  # [t, 1], then rows that add nothing
    T[:, :n, :-1], T[:, :n, -1] = t, 1
    H = zeros(n_groups, chunk, d_h)
    lanes = H.view(n_lanes, rows, d_h)
    HH, TH = zeros(n_lanes, d_h, d_h), zeros(n_lanes, d_1, d_h)
    for start in range(0, n, chunk):
        filled = min(chunk, n - start)
        H[:, :filled] = h[:, start : start + filled]
        H[:, filled:] = 0
        HH.baddbmm_(lanes.mT, lanes)
        TH.baddbmm_(T[:, start : start + chunk].reshape(n_lanes, rows, d_1).mT, lanes)
    inner, cross = (part.unflatten(0, (n_groups, _LANES)).sum(1) for part in (HH, TH))
    return torch.cat([torch.cat([inner, cross.mT], 2), torch.cat([cross, T.mT @ T], 2)], 1)
