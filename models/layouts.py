"""How a prompt becomes tokens, and where the model's predictions are read."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Layout(ABC):
    """A token layout: prompt in, token vectors out."""

    @abstractmethod
    def d_token(self, n_dims: int) -> int:
        """Width of a token."""

    @abstractmethod
    def n_tokens(self, n_points: int) -> int:
        """Number of tokens for a prompt of n_points."""

    @abstractmethod
    def tokens(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points"]
    ) -> Float[Tensor, "batch n_tokens d_token"]:
        """The prompt's tokens; y of the last point never enters a prediction."""

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

    def d_token(self, n_dims: int) -> int:
        """Width of a token: that of x."""
        return n_dims

    def n_tokens(self, n_points: int) -> int:
        """Two tokens a point."""
        return 2 * n_points

    def tokens(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points"]
    ) -> Float[Tensor, "batch n_tokens d_token"]:
        """Alternate x and y, y in the first coordinate of an otherwise zero token."""
        padded = F.pad(ys[..., None], (0, xs.shape[-1] - 1))
        return torch.stack([xs, padded], dim=2).flatten(1, 2)

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

    def d_token(self, n_dims: int) -> int:
        """Width of a token: x and y."""
        return n_dims + 1

    def n_tokens(self, n_points: int) -> int:
        """One token a point."""
        return n_points

    def tokens(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points"]
    ) -> Float[Tensor, "batch n_tokens d_token"]:
        """Append y to x, zero at the query."""
        hidden = torch.cat([ys[:, :-1], torch.zeros_like(ys[:, -1:])], dim=1)
        return torch.cat([xs, hidden[..., None]], dim=-1)

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

    def d_token(self, n_dims: int) -> int:
        """Width of a token: x and y."""
        return n_dims + 1

    def n_tokens(self, n_points: int) -> int:
        """Two tokens a point, one for the query."""
        return 2 * n_points - 1

    def tokens(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points"]
    ) -> Float[Tensor, "batch n_tokens d_token"]:
        """Alternate (x, 0) and (0, y)."""
        pairs = torch.stack([F.pad(xs, (0, 1)), F.pad(ys[..., None], (xs.shape[-1], 0))], dim=2)
        return pairs.flatten(1, 2)[:, :-1]

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

    def d_token(self, n_dims: int) -> int:
        """Width of a token: that of x."""
        return n_dims

    def n_tokens(self, n_points: int) -> int:
        """One token a point."""
        return n_points

    def tokens(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points"]
    ) -> Float[Tensor, "batch n_tokens d_token"]:
        """The points themselves."""
        return xs

    def read_points(self, n_points: int) -> range:
        """Every point."""
        return range(n_points)

    def read_positions(self, n_points: int) -> slice:
        """Every position."""
        return slice(0, n_points)


LAYOUTS: dict[str, Layout] = {
    "interleaved": Interleaved(),
    "joint": Joint(),
    "separate": Separate(),
    "sequence": Sequence(),
}
"""Token layouts by the name they have in a config."""
