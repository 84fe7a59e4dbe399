"""One layer beside the nearest member of every family, and what it is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from mesascope.analyses.claim import as_json
from mesascope.analyses.matching.families import FAMILIES
from mesascope.analyses.matching.nearest import Nearest
from mesascope.probes import Estimate

NAMED, LIKE = 0.1, 0.3
"""Distances up to which a layer is given a family's name (1% of its squared norm is left), or said to be like it."""
BEYOND = 0.5
"""Part of chance's smallest distance that a layer must be below."""
INSIDE, RARE = 0.5, 0.9
"""Share of its squared norm that must lie between slots for a family to which chance comes nearer than the second."""
NOTHING = "none of the constructions"


@dataclass(frozen=True)
class FamilyMatch:
    """A layer beside the nearest member of one family."""

    family: str
    distance: Estimate
    """‖T − T*‖/‖T‖ over the entries that can reach the output, its interval by leaving out coordinates of x."""
    random: float
    """The smallest distance of layers of random weights."""
    untrained: tuple[float, ...]
    """The distances of untrained twins."""
    scalars: dict[str, Estimate]
    """η and γ on the mean loss, and |W0|, where attention is linear."""
    nearest: Nearest

    @property
    def null(self) -> float:
        """The smallest distance of random weights and untrained twins."""
        return min((self.random, *self.untrained))

    @property
    def near(self) -> bool:
        """Whether it is near enough for the family's name."""
        return self.distance.high <= NAMED

    @property
    def beyond_chance(self) -> bool:
        """Whether it is nearer than random weights and untrained twins are."""
        return self.distance.high < BEYOND * self.null

    @property
    def wrong_sign(self) -> str:
        """The scalar that is surely negative: a step uphill, or x stretched; empty if there is none."""
        signed = next(family.signed for family in FAMILIES if family.name == self.family)
        return next((name for name in signed if name in self.scalars and self.scalars[name].high < 0), "")

    @property
    def preconditioner(self) -> Float[Tensor, "n_query n_key"]:
        """η A from query to key, slots of x first, on the mean loss; of any size where attention is not linear."""
        return self.scalars["η"].value * self.nearest.QK if "η" in self.scalars else self.nearest.QK

    def data(self) -> dict[str, Any]:
        """Distance, nulls and scalars."""
        return {
            "family": self.family,
            "distance": as_json(self.distance),
            "random": self.random,
            "untrained": list(self.untrained),
            "scalars": {name: as_json(value) for name, value in self.scalars.items()},
        }


@dataclass(frozen=True)
class LayerMatch:
    """One layer against every family, the nearest simple one first."""

    label: str
    norm: float
    """‖T‖ over the entries that can reach the output."""
    inside: float
    """Share of ‖T‖² that lies between the slots of tokens, reachable or not."""
    matches: tuple[FamilyMatch, ...]
    """In the order of `FAMILIES`; none of a layer that is zero."""
    OV: Float[Tensor, "n_value n_write"]
    QK: Float[Tensor, "n_query n_key"]
    """The layer's own, seen through the best match's other factor, so that they are free of gauge."""
    holds_start: bool = False
    """Whether the read-in may hold W0, so that a query starts from it."""

    @property
    def best(self) -> FamilyMatch | None:
        """The simplest family that gives the name, else the one it is most like; None if the layer is zero."""
        return best_of(self.matches) if self.matches else None

    @property
    def named(self) -> bool:
        """Whether the verdict is the name of a family."""
        return self.best is not None and self.verdict == self.best.family

    @property
    def verdict(self) -> str:
        """A family, or why it is none.

        "A with η < 0" (or γ), "A from a start W0 that the query does not hold", "A, as untrained", "like A, but not
        it", `NOTHING`, or "nothing: its weights are zero".
        """
        best = self.best
        if best is None:
            return "nothing: its weights are zero"
        if best.near and not best.beyond_chance:
            return f"{best.family}, as untrained"
        too_rich = best.null < RARE and self.inside < INSIDE
        if too_rich or not best.beyond_chance or best.distance.value > LIKE or not best.nearest.steps:
            return NOTHING
        if best.wrong_sign:
            return f"{best.family} with {best.wrong_sign} < 0"
        if not self.holds_start and best.nearest.from_x > NAMED * best.nearest.OV.norm():
            return f"{best.family} from a start W0 that the query does not hold"
        return best.family if best.near else f"like {best.family}, but not it"

    def data(self) -> dict[str, Any]:
        """Everything that the verdict rests on."""
        return {
            "label": self.label,
            "verdict": self.verdict,
            "norm": self.norm,
            "inside": self.inside,
            "matches": [match.data() for match in self.matches],
            "preconditioner": self.best.preconditioner.tolist() if self.best else None,
            "OV": self.OV.tolist(),
            "QK": self.QK.tolist(),
        }


def best_of(matches: Sequence[FamilyMatch]) -> FamilyMatch:
    """The simplest that is near and beyond chance; else the simplest alike beyond chance, near, or nearest of all."""
    beyond = [match for match in matches if match.beyond_chance]
    near = (match for match in (*beyond, *matches) if match.near)
    alike = (match for match in beyond if match.distance.value <= LIKE)
    first_near = next(near, None)
    if first_near is not None and first_near.beyond_chance:
        return first_near
    return next(alike, first_near) or min(matches, key=lambda match: match.distance.value)
