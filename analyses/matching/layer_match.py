"""One layer's operator against every family of constructions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from scipy.sparse.linalg import svds
from torch import Tensor

from mesascope.analyses.claim import as_json
from mesascope.analyses.matching.families import COPY, FAMILIES, Family
from mesascope.models.errors import MesascopeError
from mesascope.models.streams import generator
from mesascope.probes import Estimate, LayerOperator, TokenBasis, jackknifed

NAMED, LIKE = 0.1, 0.3
"""Distances up to which a layer is given a family's name (1% of its squared norm is left), or said to be like it."""
BEYOND = 0.5
"""Part of chance's smallest distance that a layer must be below."""
INSIDE, RARE = 0.5, 0.9
"""Share of its squared norm that must lie between slots for a family to which chance comes nearer than the second."""
NOTHING = "none of the constructions"
N_RANDOM = 20
"""Layers of random weights."""
NO_STEP = 1e-3
"""η, in units of all that the layer writes, up to which no label is used."""
MANY = 32
"""Matrices from which on of all singular vectors only the first are computed."""
MIN_COORDINATES = 3
"""Coordinates of x from which on leaving one out gives an interval."""


@dataclass(frozen=True)
class Nearest:
    """The member of a family that is nearest to an operator."""

    distance: float
    """‖T − T*‖/‖T‖, in [0, 1]."""
    OV: Float[Tensor, "n_value n_write"]
    QK: Float[Tensor, "n_query n_key"]
    """T* = OV ⊗ QK, scaled so that QK has the size of the identity on x, and a trace that is not negative."""
    scalars: dict[str, float]
    """What stands before each matrix of the family's values."""

    @property
    def steps(self) -> bool:
        """Whether it is a step at all: whether y reaches y."""
        return "η" not in self.scalars or abs(self.scalars["η"]) > NO_STEP * self.OV.norm().item()

    @property
    def from_x(self) -> float:
        """η |W0|, of the entries that lead from x to y."""
        return math.hypot(*(value for name, value in self.scalars.items() if name.startswith("W0")))


def find_nearest(operator: LayerOperator, family: Family, basis: TokenBasis) -> Nearest | None:
    """The nearest member: the first singular vectors of the operator projected on both spans.

    None where the family has nothing on these slots, such as a copy where there are no positions.

    Args:
        operator: Between the slots of `basis`, not zero.
        family: The constructions.
        basis: The layer's slots.
    """
    values, scores = family.values(basis), family.scores(basis)
    if not (len(values.names) and len(scores.names)):
        return None
    size, left, right = _first_singular(operator.against(values.matrices, scores.matrices))
    QK = torch.einsum("b,bij->ij", right, scores.matrices)
    n_x = sum(kind == "x" for kind, _ in basis.query.names)
    unit = QK.norm() / n_x**0.5 * (-1.0 if QK.diagonal().sum() < 0 else 1.0)
    along = size * unit * left
    return Nearest(
        distance=max(1 - (size / operator.norm) ** 2, 0.0) ** 0.5,
        OV=torch.einsum("a,aij->ij", along, values.matrices),
        QK=QK / unit,
        scalars={n: (a / size).item() for n, a, size in zip(values.names, along, values.sizes, strict=True)},
    )


def _first_singular(
    matrix: Float[Tensor, "rows cols"],
) -> tuple[float, Float[Tensor, " rows"], Float[Tensor, " cols"]]:
    """The first singular value and its vectors."""
    if min(matrix.shape) > MANY and matrix.any():
        wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
        start = wide[:, wide.norm(dim=0).argmax()]  # ARPACK would draw its own from a global generator
        parts = svds(matrix.cpu().numpy(), k=1, v0=start.cpu().numpy())
        U, S, Vh = (torch.from_numpy(part.copy()) for part in parts)
    else:
        U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return S[0].item(), U[:, 0].to(matrix), Vh[0].to(matrix)


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
        """η A, on the mean loss; of any size where attention is not linear."""
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
        return _best(self.matches) if self.matches else None

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
            "OV": self.OV.tolist(),
            "QK": self.QK.tolist(),
        }


def match_layer(
    label: str,
    operator: LayerOperator,
    basis: TokenBasis,
    inside: float,
    twins: Sequence[LayerOperator],
    chance: "RandomLayers",
    n_context: int | None,
    holds_start: bool = False,
) -> LayerMatch:
    """Hold one layer against every family.

    Args:
        label: What to call it.
        operator: On the residual stream.
        basis: The slots of it that can reach the output.
        inside: Share of ‖T‖² between all its slots, see `inside_share`.
        twins: The same layer of untrained twins.
        chance: Layers of random weights.
        n_context: Points over which η and γ are a mean; None if the scale of scores is not that of a sum, as behind a
            softmax.
        holds_start: Whether the read-in may hold W0.

    Raises:
        MesascopeError: A weight is NaN or infinite.
    """
    seen, size = operator.seen(basis), operator.norm
    if not math.isfinite(size):
        raise MesascopeError(f"{label} holds NaN or infinite weights; attach a sound checkpoint")
    if not size > 0 or not seen.norm > 1e-12 * size:
        empty = torch.zeros(0, 0, dtype=torch.float64)
        return LayerMatch(label, 0.0, 0.0, (), empty, empty)
    matches = []
    for family in FAMILIES:
        found = find_nearest(seen, family, basis)
        if found is None:
            continue
        scalars = _estimates(operator, family, basis, found, n_context)
        matches.append(
            FamilyMatch(
                family=family.name,
                distance=scalars.pop("distance"),
                random=chance.distance(family, basis, seen),
                untrained=tuple(_distance(twin.seen(basis), family, basis) for twin in twins),
                scalars=scalars,
                nearest=found,
            )
        )
    best = _best(matches).nearest
    OV, QK = best.OV, best.QK
    weights = torch.einsum("hij,ij->h", seen.QK.AB, QK) / QK.square().sum()
    scores = torch.einsum("hij,ij->h", seen.OV.AB, OV) / OV.square().sum()
    return LayerMatch(
        label,
        seen.norm,
        inside,
        tuple(matches),
        torch.einsum("h,hij->ij", weights, seen.OV.AB),
        torch.einsum("h,hij->ij", scores, seen.QK.AB),
        holds_start,
    )


def _best(matches: Sequence[FamilyMatch]) -> FamilyMatch:
    """The simplest that is near and beyond chance; else the simplest alike beyond chance, near, or nearest of all."""
    beyond = [match for match in matches if match.beyond_chance]
    near = (match for match in (*beyond, *matches) if match.near)
    alike = (match for match in beyond if match.distance.value <= LIKE)
    first_near = next(near, None)
    if first_near is not None and first_near.beyond_chance:
        return first_near
    return next(alike, first_near) or min(matches, key=lambda match: match.distance.value)


def inside_share(operator: LayerOperator, basis: TokenBasis) -> float:
    """The part of ‖T‖² between the subspaces that the slots span."""
    orthogonal = TokenBasis(
        *(replace(s, directions=torch.linalg.qr(s.directions.mT)[0].mT) for s in vars(basis).values())
    )
    return (operator.seen(orthogonal).norm / operator.norm) ** 2 if operator.norm > 0 else 0.0


class RandomLayers:
    """Layers of normal weights between slots: how near chance comes to a family; their norm does not matter.

    Args:
        seed: Seed of the weights.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self._found: dict[tuple[Any, ...], float] = {}

    def distance(self, family: Family, basis: TokenBasis, like: LayerOperator) -> float:
        """The smallest distance of `N_RANDOM` layers with as many heads and slots as another."""
        factors = (like.W_Q, like.W_K, like.W_V, like.W_O)
        key = (family.name, basis.query.names, basis.write.names, *(factor.shape for factor in factors))
        if key not in self._found:
            rng = generator(self.seed, "random layers")
            draws = (
                LayerOperator(*(torch.randn(f.shape, generator=rng, dtype=f.dtype).to(f) for f in factors))
                for _ in range(N_RANDOM)
            )
            self._found[key] = min(_distance(draw, family, basis) for draw in draws)
        return self._found[key]


def _distance(operator: LayerOperator, family: Family, basis: TokenBasis) -> float:
    found = find_nearest(operator, family, basis) if operator.norm > 0 else None
    return 1.0 if found is None else found.distance


def _estimates(
    operator: LayerOperator, family: Family, basis: TokenBasis, found: Nearest, n_context: int | None
) -> dict[str, Estimate]:
    """Distance and scalars, with the interval that leaving out one coordinate of x at a time gives."""
    whole = _measured(found, n_context)
    coordinates = sorted({index for kind, index in basis.value.names if kind == "x"})
    if len(coordinates) < MIN_COORDINATES or family.name == COPY:
        return {name: Estimate(value, value, value) for name, value in whole.items()}
    left_out = []
    for index in coordinates:
        fewer = basis.without(index)
        seen = operator.seen(fewer)  # zero where the layer acts on that coordinate alone
        part = find_nearest(seen, family, fewer) if seen.norm > 0 else None
        left_out.append(_measured(part, n_context) if part is not None else whole)
    values = torch.tensor(list(whole.values()), dtype=torch.float64)
    others = torch.tensor([[part.get(name, math.nan) for name in whole] for part in left_out], dtype=torch.float64)
    return dict(zip(whole, jackknifed(values, others), strict=True))


def _measured(found: Nearest, n_context: int | None) -> dict[str, float]:
    scalars = {"distance": found.distance}
    if n_context is not None and found.steps and "η" in found.scalars:
        scalars |= {name: n_context * found.scalars[name] for name in ("η", "γ") if name in found.scalars}
        scalars["|W0|"] = found.from_x / abs(found.scalars["η"])
    return scalars
