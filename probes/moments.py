"""Second moments of activations and targets: all that a linear readout needs, in one pass and constant memory."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_CHUNK = 1024
"""Rows a time: Z stays in cache between the copy that builds it and the product that reads it."""


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
        n = resid.shape[-2]
        n_groups = math.prod(self.products.shape[:-2])
        into = self.products.view(n_groups, width, width)
        rows = max(1, min(n, _CHUNK))
        Z = torch.empty(n_groups, rows, width, dtype=torch.float64, device=self.products.device)
        Z[..., -1] = 1
        h, t = resid.reshape(n_groups, n, self.d_h), y.reshape(n_groups, n, y.shape[-1])
        for start in range(0, n, rows):
            stop = min(start + rows, n)
            part = Z[:, : stop - start]
            part[..., : self.d_h] = h[:, start:stop]
            part[..., self.d_h : -1] = t[:, start:stop]
            into.baddbmm_(part.mT, part)
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
