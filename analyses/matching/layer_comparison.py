"""Hold one layer's operator against every family of constructions."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from mesascope.analyses.matching.chance import RandomLayers
from mesascope.analyses.matching.families import COPY, FAMILIES, Family
from mesascope.analyses.matching.layer_match import FamilyMatch, LayerMatch, best_of
from mesascope.analyses.matching.nearest import Nearest, distance_to, find_nearest
from mesascope.models.errors import MesascopeError
from mesascope.probes import Estimate, LayerOperator, TokenBasis, jackknifed

MIN_COORDINATES = 3
"""Coordinates of x from which on leaving one out gives an interval."""


def match_layer(
    label: str,
    operator: LayerOperator,
    basis: TokenBasis,
    inside: float,
    twins: Sequence[LayerOperator],
    chance: RandomLayers,
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
                untrained=tuple(distance_to(twin.seen(basis), family, basis) for twin in twins),
                scalars=scalars,
                nearest=found,
            )
        )
    best = best_of(matches).nearest
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


def inside_share(operator: LayerOperator, basis: TokenBasis) -> float:
    """The part of ‖T‖² between the subspaces that the slots span."""
    orthogonal = TokenBasis(
        *(replace(s, directions=torch.linalg.qr(s.directions.mT)[0].mT) for s in vars(basis).values())
    )
    return (operator.seen(orthogonal).norm / operator.norm) ** 2 if operator.norm > 0 else 0.0


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
