"""Which token holds what of which point, as attention sees it."""

from dataclasses import dataclass

from mesascope.models.layouts import Layout


@dataclass(frozen=True)
class TokenRoles:
    """The tokens of each point's x and y.

    Tokens of a sequence hold one symbol each. There y of a point is the next symbol, so that its token is the x of the
    next point: what an induction head looks for is then what a gradient step looks for, the y of a point whose x is
    like the query's.
    """

    names: tuple[str, ...]
    """What each token is called, such as x_0 and y_0."""
    x: tuple[int, ...]
    """The token of each point's x."""
    y: tuple[int, ...]
    """The token of each point's y, of those that have one: all but the last, at the most."""
    together: bool
    """Whether one token holds both."""

    @staticmethod
    def of(layout: Layout, n_points: int, n_dims: int) -> "TokenRoles":
        """The roles in a prompt of n_points."""
        places = layout.places(n_points, n_dims)
        x = tuple(at for at, place in enumerate(places) if place.holds in ("x", "xy"))
        y = tuple(at for at, place in enumerate(places) if place.holds in ("y", "xy"))
        together = any(place.holds == "xy" for place in places)
        shown = {"xy": "(x,y)", "unit": "e"}
        names = tuple(f"{shown.get(place.holds, place.holds)}_{place.number}" for place in places)
        return TokenRoles(names, x, y or x[1:], together)

    @property
    def n_pairs(self) -> int:
        """The points whose x and y are both in the context."""
        return len(self.y)

    @property
    def copies(self) -> bool:
        """Whether there is anything to copy: x and y of a point are in tokens of their own."""
        return not self.together
