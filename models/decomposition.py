"""One eigendecomposition of every prefix, on which every filter learner works."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Decomposition:
    """S_t = X_tᵀX_t = U diag(λ) Uᵀ over the points *before* each point t, with b_t = X_tᵀy_t; float64.

    A learner whose weights are a filter m of S has Uᵀw = m(λ) ∘ c and ŷ_t = Σ_i a_i c_i m(λ_i): this is all it needs.
    """

    eigenvalues: Float[Tensor, "batch n_points n_dims"]
    """λ, ascending; exactly zero outside the span of the prefix."""
    basis: Float[Tensor, "batch n_points n_dims n_dims"]
    """U, eigenvectors in columns."""
    moments: Float[Tensor, "batch n_points n_dims"]
    """c = Uᵀ b_t."""
    queries: Float[Tensor, "batch n_points n_dims"]
    """a = Uᵀ x_t."""
    counts: Float[Tensor, "n_points 1"]
    """t, the number of points in each prefix; shaped to broadcast against `eigenvalues`."""

    def predict(self, coefficients: Float[Tensor, "batch n_points n_dims"]) -> Float[Tensor, "batch n_points"]:
        """ŷ_t = w·x_t from Uᵀw."""
        return (self.queries * coefficients).sum(-1)

    @cached_property
    def least_squares(self) -> Float[Tensor, "batch n_points"]:
        """What minimum-norm least squares predicts."""
        inside = self.eigenvalues > 0
        return self.predict(self.moments * inside / self.eigenvalues.where(inside, 1.0))

    def weights(self, coefficients: Float[Tensor, "batch n_points n_dims"]) -> Float[Tensor, "batch n_points n_dims"]:
        """w_t from Uᵀw."""
        return torch.einsum("bnij,bnj->bni", self.basis, coefficients)


def decompose(
    xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points"], points: Sequence[int] | None = None
) -> Decomposition:
    """Decompose the prefixes before some points (default: all) of every prompt; O(batch · n_prefixes · n_dims³).

    Prefixes whose length is near n_dims go through an SVD of X_t: there cond(S) = cond(X)² costs least squares half
    its digits (1e-9 instead of 1e-13 at t = n_dims). The others take the cheaper eigendecomposition of S_t.
    """
    xs, ys = xs.double(), ys.double()
    n_points, n_dims = xs.shape[1:]
    wanted = list(range(n_points) if points is None else points)
    counts = torch.tensor(wanted, device=xs.device)
    before = torch.arange(n_points, device=xs.device) < counts[:, None]  # [t, i] = i < t
    products = _running(xs, ys[..., None])[:, wanted, :, 0]
    eigenvalues, basis = _batched(torch.linalg.eigh, _running(xs, xs)[:, wanted])
    # Rounding leaves ±ε λ_max outside the span of the prefix, which 1/λ would blow up.
    floor = 10 * n_dims * torch.finfo(xs.dtype).eps * eigenvalues[..., -1:]
    eigenvalues = eigenvalues.where(eigenvalues > floor, 0.0)
    moments = torch.einsum("btij,bti->btj", basis, products)

    near = (counts >= max(n_dims - _margin(n_dims), 1)) & (counts <= n_dims + _margin(n_dims))
    if near.any():
        prefixes = before[near, :, None] * xs[:, None]  # rows of zeros change nothing
        left, singular, right = _batched(lambda x: torch.linalg.svd(x, full_matrices=n_points < n_dims), prefixes)
        eigenvalues[:, near], basis[:, near], moments[:, near] = _from_svd(left, singular, right, ys)
    zero = eigenvalues == 0
    queries = torch.einsum("btij,bti->btj", basis, xs[:, wanted])
    return Decomposition(eigenvalues, basis, moments.masked_fill(zero, 0.0), queries, counts.double()[:, None])


def _margin(n_dims: int) -> int:
    """How far from n_dims a prefix counts as near: cond(X_t) of Gaussian points falls quickly beyond."""
    return max(2, n_dims // 4)


def _running(left: Tensor, right: Tensor) -> Tensor:
    """Σ_{i<t} left_i rightᵀ_i for every t."""
    # Shifted, not cumsum − outer: that would leave ε|x_t|² in the null space of a prefix of small points.
    outer = left[:, :-1, :, None] * right[:, :-1, None, :]
    return torch.nn.functional.pad(outer.cumsum(1), (0, 0, 0, 0, 1, 0))


def _from_svd(left: Tensor, singular: Tensor, right: Tensor, ys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues, basis and moments from X = left diag(singular) right, in eigh's ascending order."""
    n_dims = right.shape[-1]
    floor = max(ys.shape[1], n_dims) * torch.finfo(ys.dtype).eps * singular[..., :1]
    singular = singular.where(singular > floor, 0.0)
    moments = singular * torch.einsum("btiq,bi->btq", left[..., : singular.shape[-1]], ys)
    pad = (0, n_dims - singular.shape[-1])
    full = [torch.nn.functional.pad(part, pad).flip(-1) for part in (singular.square(), moments)]
    return full[0], right.mT.flip(-1), full[1]


def _batched(function: Callable[[Tensor], tuple[Tensor, ...]], matrices: Tensor) -> tuple[Tensor, ...]:
    """Apply a batched LAPACK routine in as many threads as torch uses; PyTorch loops over the batch in one."""
    lead = matrices.shape[:2]
    flat = matrices.flatten(0, 1)
    if matrices.device.type != "cpu" or len(flat) < 64:
        parts = [function(flat)]
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            parts = list(pool.map(function, flat.chunk(torch.get_num_threads())))
    return tuple(torch.cat(pieces).unflatten(0, lead) for pieces in zip(*parts, strict=True))
