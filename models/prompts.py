"""A batch of in-context regression prompts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from mesascope.models.decomposition import Decomposition, decompose


@dataclass(frozen=True)
class Prompts:
    """`batch` prompts of n points (x_i, y_i), with the weights that made them where there are such.

    A prediction *at* point t sees the points 0..t-1 and x_t, never y_t.
    """

    xs: Float[Tensor, "batch n_points n_dims"]
    ys: Float[Tensor, "batch n_points"]
    w: Float[Tensor, "batch n_dims"] | None = None

    def __repr__(self) -> str:
        kind = str(self.xs.dtype).removeprefix("torch.")
        return (
            f"<Prompts: {len(self)} of {self.n_points} points in {self.n_dims} dimensions, {kind} on {self.xs.device}>"
        )

    def __len__(self) -> int:
        return len(self.xs)

    def __getitem__(self, index: slice | Tensor) -> "Prompts":
        return replace(self, xs=self.xs[index], ys=self.ys[index], w=None if self.w is None else self.w[index])

    @property
    def n_points(self) -> int:
        """Number of points, the last one (whose y nothing reads) included."""
        return self.xs.shape[1]

    @property
    def n_dims(self) -> int:
        """Dimension of x."""
        return self.xs.shape[2]

    @cached_property
    def decomposition(self) -> Decomposition:
        """Eigendecomposition of every prefix's Gram matrix, computed once and shared by all learners."""
        return decompose(self.xs, self.ys)

    def prefixes(self, points: Sequence[int]) -> Decomposition:
        """The decomposition of the prefixes before some points, computed once: a model may read one point of many.

        Raises:
            ValueError: There is no such point; they do not count from the end.
        """
        if not all(0 <= point < self.n_points for point in points):
            raise ValueError(f"points={list(points)}: expected numbers from 0 to {self.n_points - 1}")
        if len(points) == self.n_points:
            return self.decomposition
        key = tuple(points)
        if key not in self._prefixes:
            self._prefixes[key] = decompose(self.xs, self.ys, key)
        return self._prefixes[key]

    @cached_property
    def _prefixes(self) -> dict[tuple[int, ...], Decomposition]:
        return {}

    def to(self, *args: object, **kwargs: object) -> "Prompts":
        """Move or cast all tensors, with the arguments of `Tensor.to`."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(*args, **kwargs)  # type: ignore[call-overload]

        return replace(self, xs=moved(self.xs), ys=moved(self.ys), w=None if self.w is None else moved(self.w))

    def split(self, size: int) -> Iterator["Prompts"]:
        """Consecutive batches of at most `size` prompts."""
        return (self[start : start + size] for start in range(0, len(self), size))

    @staticmethod
    def concat(parts: list["Prompts"]) -> "Prompts":
        """The prompts of all parts, in order; `w` only if every part has it."""
        ws = [part.w for part in parts if part.w is not None]
        return Prompts(
            torch.cat([part.xs for part in parts]),
            torch.cat([part.ys for part in parts]),
            torch.cat(ws) if len(ws) == len(parts) else None,
        )
