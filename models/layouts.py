"""How a prompt becomes tokens, and where the model's predictions are read."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Place(NamedTuple):
    """What one token holds, and of which point."""

    holds: Literal["x", "y", "xy", "unit"]
    """x, y, both, or a unit vector of its own."""
    number: int
    """Which point, or which unit vector; from 0 on."""


class Layout(ABC):
    """A token layout: prompt in, token vectors out.

    y is a number, or `d_y` numbers on an axis of their own.
    """

    has_y_slots: ClassVar[bool] = True
    """Whether the last d_y entries of a token are y's and nothing else's."""

    @abstractmethod
    def d_token(self, n_dims: int, d_y: int = 1) -> int:
        """Width of a token."""

    @abstractmethod
    def n_tokens(self, n_points: int, n_dims: int) -> int:
        """Number of tokens for a prompt of n_points."""

    @abstractmethod
    def tokens(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points *d_y"]
    ) -> Float[Tensor, "batch n_tokens d_token"]:
        """The prompt's tokens; y of the last point never enters a prediction."""

    @abstractmethod
    def places(self, n_points: int, n_dims: int) -> tuple[Place, ...]:
        """What each token holds."""

    @abstractmethod
    def read_points(self, n_points: int) -> range:
        """The points at which the model predicts."""

    @abstractmethod
    def read_positions(self, n_points: int) -> slice:
        """The token positions of those points."""


class Interleaved(Layout):
    """x_0, (y_0, 0 … 0), x_1, …: every point is predicted, at the position of its x.

    Source: Garg et al. (2022), section 3.
    """

    has_y_slots: ClassVar[bool] = False

    def d_token(self, n_dims: int, d_y: int = 1) -> int:
        """Width of a token: that of x."""
        return n_dims

    def n_tokens(self, n_points: int, n_dims: int) -> int:
        """Two tokens a point."""
        return 2 * n_points

    def tokens(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points *d_y"]
    ) -> Float[Tensor, "batch n_tokens d_token"]:
        """Alternate x and y, y in the first coordinate of an otherwise zero token."""
        ys = _columns(ys)
        padded = F.pad(ys, (0, xs.shape[-1] - ys.shape[-1]))
        return torch.stack([xs, padded], dim=2).flatten(1, 2)

    def places(self, n_points: int, n_dims: int) -> tuple[Place, ...]:
        """Those of x and of y in turn."""
        return tuple(place for point in range(n_points) for place in (Place("x", point), Place("y", point)))

    def read_points(self, n_points: int) -> range:
        """Every point."""
        return range(n_points)

    def read_positions(self, n_points: int) -> slice:
        """The even positions."""
        return slice(0, 2 * n_points, 2)


class Joint(Layout):
    """(x_0, y_0), …, (x_q, 0): only the last point is predicted, in the y-slot of its own token.

    Source: von Oswald et al. (2023), section 2.
    """

    def d_token(self, n_dims: int, d_y: int = 1) -> int:
        """Width of a token: x and y."""
        return n_dims + d_y

    def n_tokens(self, n_points: int, n_dims: int) -> int:
        """One token a point."""
        return n_points

    def tokens(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points *d_y"]
    ) -> Float[Tensor, "batch n_tokens d_token"]:
        """Append y to x, zero at the query."""
        return torch.cat([xs, _without_the_last(_columns(ys))], dim=-1)

    def places(self, n_points: int, n_dims: int) -> tuple[Place, ...]:
        """Both, and x alone at the query."""
        return (*(Place("xy", point) for point in range(n_points - 1)), Place("x", n_points - 1))

    def read_points(self, n_points: int) -> range:
        """The last point."""
        return range(n_points - 1, n_points)

    def read_positions(self, n_points: int) -> slice:
        """The last position."""
        return slice(n_points - 1, n_points)


class Separate(Layout):
    """(x_0, 0), (0, y_0), (x_1, 0), …, (x_q, 0): x and y of a point in neighbouring tokens; the last is predicted.

    Source: von Oswald et al. (2023), section 5.
    """

    def d_token(self, n_dims: int, d_y: int = 1) -> int:
        """Width of a token: x and y."""
        return n_dims + d_y

    def n_tokens(self, n_points: int, n_dims: int) -> int:
        """Two tokens a point, one for the query."""
        return 2 * n_points - 1

    def tokens(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points *d_y"]
    ) -> Float[Tensor, "batch n_tokens d_token"]:
        """Alternate (x, 0) and (0, y)."""
        ys = _columns(ys)
        pairs = torch.stack([F.pad(xs, (0, ys.shape[-1])), F.pad(ys, (xs.shape[-1], 0))], dim=2)
        return pairs.flatten(1, 2)[:, :-1]

    def places(self, n_points: int, n_dims: int) -> tuple[Place, ...]:
        """Those of x and of y in turn; the query has none of y."""
        return Interleaved().places(n_points, n_dims)[:-1]

    def read_points(self, n_points: int) -> range:
        """The last point."""
        return range(n_points - 1, n_points)

    def read_positions(self, n_points: int) -> slice:
        """The last position."""
        return slice(2 * n_points - 2, 2 * n_points - 1)


class Sequence(Layout):
    """x_0, x_1, …: one token a point, y never among them; every point is predicted.

    For discrete tasks, where x is a one-hot token and y the id of the next one.
    """

    has_y_slots: ClassVar[bool] = False

    def d_token(self, n_dims: int, d_y: int = 1) -> int:
        """Width of a token: that of x."""
        return n_dims

    def n_tokens(self, n_points: int, n_dims: int) -> int:
        """One token a point."""
        return n_points

    def tokens(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points *d_y"]
    ) -> Float[Tensor, "batch n_tokens d_token"]:
        """The points themselves."""
        return xs

    def places(self, n_points: int, n_dims: int) -> tuple[Place, ...]:
        """One of x a point."""
        return tuple(Place("x", point) for point in range(n_points))

    def read_points(self, n_points: int) -> range:
        """Every point."""
        return range(n_points)

    def read_positions(self, n_points: int) -> slice:
        """Every position."""
        return slice(0, n_points)


class Scratch(Layout):
    """n_dims scratch tokens (0, e_i, 0), then (x_0, 0, y_0), …, (x_q, 0, 0): room for a matrix, a row in each.

    Only the last point is predicted.

    Source: ours, for Newton's method.
    """

    def d_token(self, n_dims: int, d_y: int = 1) -> int:
        """Width of a token: x, the unit vector, and y."""
        return 2 * n_dims + d_y

    def n_tokens(self, n_points: int, n_dims: int) -> int:
        """One token a point, and one a dimension."""
        return n_dims + n_points

    def tokens(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points *d_y"]
    ) -> Float[Tensor, "batch n_tokens d_token"]:
        """The unit vectors before the points; y is zero at the query."""
        n_dims, ys = xs.shape[-1], _without_the_last(_columns(ys))
        units = F.pad(torch.eye(n_dims).to(xs), (n_dims, ys.shape[-1]))
        points = torch.cat([F.pad(xs, (0, n_dims)), ys], dim=-1)
        return torch.cat([units.expand(len(xs), -1, -1), points], dim=1)

    def places(self, n_points: int, n_dims: int) -> tuple[Place, ...]:
        """The unit vectors, then the points."""
        return (*(Place("unit", index) for index in range(n_dims)), *Joint().places(n_points, n_dims))

    def read_points(self, n_points: int) -> range:
        """The last point."""
        return range(n_points - 1, n_points)

    def read_positions(self, n_points: int) -> slice:
        """The last position, counted from the end: how many scratch tokens there are depends on n_dims."""
        return slice(-1, None)


def _columns(ys: Float[Tensor, "batch n_points *d_y"]) -> Float[Tensor, "batch n_points d_y"]:
    return ys if ys.ndim == 3 else ys[..., None]


def _without_the_last(ys: Float[Tensor, "batch n_points d_y"]) -> Float[Tensor, "batch n_points d_y"]:
    """Zero for the query."""
    return torch.cat([ys[:, :-1], torch.zeros_like(ys[:, -1:])], dim=1)


LAYOUTS: dict[str, Layout] = {
    "interleaved": Interleaved(),
    "joint": Joint(),
    "separate": Separate(),
    "sequence": Sequence(),
    "scratch": Scratch(),
}
"""Token layouts by the name they have in a config."""
