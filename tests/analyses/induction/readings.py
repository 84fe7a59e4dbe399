"""Heads and losses with any scores, made up."""

from mesascope.analyses.induction.effects import Effect, Losses
from mesascope.analyses.induction.reading import Copying, HeadReading, Querying
from mesascope.analyses.induction.verdict import Nulls
from mesascope.probes import Estimate
from mesascope.probes.ablation import Knockout

NULLS = Nulls((0.1,), (0.15,), {"x": (0.2,), "y": (0.1,), "(x,y)": (0.1,)}, 0.05)


def sure(value, half=0.01):
    """A number with a narrow interval."""
    return Estimate(value, value - half, value + half)


def copying(score, raw=None, half=0.01, covered=1.0, half_covered=0.0, half_raw=0.01):
    raw = score if raw is None else raw
    points = (score,) * 10
    return Copying("y to x", sure(score, half), sure(raw, half_raw), 0.1, sure(covered, half_covered), points, points)


def querying(correlation, label=0.0, target="y", half=0.01, moved=0.4, half_moved=0.0):
    nothing, half_of_it = sure(0.0), sure(0.5)
    return Querying(
        target=target,
        correlation=sure(correlation, half),
        shuffled=nothing,
        label=sure(label),
        near=nothing,
        by_point=(correlation,) * 3,
        mass=half_of_it,
        uniform=half_of_it,
        moved=sure(moved, half_moved),
        nearest=half_of_it,
        nearest_shuffled=nothing,
        match=nothing,
    )


def head(layer=0, index=0, copy=None, query=0.0, **given):
    one = copy if isinstance(copy, Copying) or copy is None else copying(copy)
    return HeadReading(
        layer, index, () if one is None else (one,), (querying(query, **given),), sure(0.0), sure(0.0), None
    )


def effect(knockout, what, factor, lost=0.5):
    found = factor if isinstance(factor, Estimate) else sure(factor, 0.01 * factor)
    blocks = tuple(found.value * (1 + 0.01 * (block % 3)) for block in range(20))
    return Effect(
        knockout, what, found, found, found, (1.0,), lost if isinstance(lost, Estimate) else sure(lost), blocks
    )


def losses(*effects, learned=0.2):
    return Losses((9,), (9,), sure(0.2), (0.2,), (1.0,), sure(learned), tuple(effects), 100)


def without(place, factor, lost=0.5):
    """What a head's ablation does."""
    return effect(Knockout((place,)), "head", factor, lost)


def path(writers, readers, factor, what="path"):
    return effect(Knockout(tuple(writers), "mean", tuple(readers)), what, factor)
