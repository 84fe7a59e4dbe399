"""One variable at one layer and site: whether it can be read there, and whether what is read is used."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mesascope.analyses.causality.site_readouts import Key, SiteReadout
from mesascope.analyses.causality.tracing import Tally
from mesascope.analyses.causality.variables import Variable
from mesascope.analyses.claim import as_json
from mesascope.probes import Estimate, jackknife_ratio, prediction_interval

USED = 0.5
"""Slope from which on a variable is used; 1 is fully."""
UNUSED = 0.1
"""Slope below which it is not."""
READ = 0.05
"""Least R² that is worth a name."""
USED_, AT_LEAST, PARTLY, NOT_USED = "used", "at least partly used", "partly used", "decodable but not used"
IN_USE = (USED_, AT_LEAST, PARTLY)
NOT_DECODABLE, NOT_APART, UNDETERMINED = "not decodable", "not told apart", "undetermined"
AS_UNTRAINED = "no more than untrained"
STRENGTH = (*IN_USE, NOT_USED, UNDETERMINED, NOT_APART, AS_UNTRAINED, NOT_DECODABLE)
"""Verdicts, that of a model being the strongest of any layer's."""
N_DRAWN = 300
"""Pairs that are kept to be drawn."""


@dataclass(frozen=True)
class Cause:
    """What one interchange did, with its nulls."""

    variable: Variable
    site: str
    layer: int
    """From 1 on."""
    r2: Estimate
    """Of the readout, on prompts never fitted."""
    mismatched_r2: Estimate
    """Of a readout of another prompt's value."""
    untrained_r2: Estimate | None
    """Of the same readout in untrained twins: mean, and the interval for one more; None of fewer than two twins."""
    held: tuple[Variable, ...]
    """The variables that are read as well there, and were held."""
    own: float
    """Least share of the reading's variance that those do not hold."""
    slopes: dict[str, Estimate]
    """Of the change of the prediction on what the source's value predicts, by intervention: `alone` (others held),
    `as read` (the same on what the readings predict), `together` (others free), `least` (the least change),
    `ceiling` (all of the site), `placebo` and `mismatched` (another readout)."""
    away: Estimate | None
    """Of the same change on minus what the base's own value predicts; None if it is not moved alone."""
    untrained: Estimate | None
    """The slope of untrained twins, at most their R², for a finding takes both: mean, and the interval for one more;
    None if fewer than two twins can be moved and stay among numbers."""
    pairs: tuple[tuple[float, float], ...] = field(default=(), repr=False)
    """(predicted, found) change of the prediction of some pairs."""

    @property
    def id(self) -> str:
        """Such as `w.layer3`, and `w-at-query.layer3`."""
        where = "-at-query" if self.site == "query" and self.variable != "y" else ""
        return f"{self.variable}{where}.layer{self.layer}"

    @property
    def slope(self) -> Estimate | None:
        """Of the variable moved alone; None if it cannot be."""
        return self.slopes.get("alone")

    @property
    def as_read(self) -> Estimate | None:
        """The slope on what the readings predict, which are shrunk where the readout is weak; None of S."""
        return self.slopes.get("as read")

    @property
    def of_reading(self) -> Estimate | None:
        """The slope in units of what can be read: as read, and of S, in which predictions are not linear, over R²."""
        if self.slope is None or self.as_read is not None:
            return self.as_read
        r2 = max(self.r2.value, READ)
        return Estimate(self.slope.value / r2, self.slope.low / r2, self.slope.high / r2)

    @property
    def null_r2(self) -> float:
        """The highest R² where nothing is to be read, from `READ` on."""
        return max(READ, self.mismatched_r2.high)

    @property
    def null(self) -> float:
        """The highest upper end of those nulls of the slope that were measured."""
        nulls = [self.slopes.get("placebo"), self.slopes.get("mismatched"), self.untrained]
        return max([0.0, *(null.high for null in nulls if null is not None)])

    @property
    def verdict(self) -> str:
        """Whether it is read there, beside the others and better than in untrained twins, and whether it is used."""
        if self.r2.high <= self.null_r2:
            return NOT_DECODABLE
        if self.r2.low <= self.null_r2:
            return UNDETERMINED
        if self.slope is None or self.of_reading is None:
            return NOT_APART
        # A weak reading moves little, for its slope is at most its R²: not used is said if the reading moves nothing.
        low, high = (min(self.slope.low, self.of_reading.low), min(self.slope.high, self.of_reading.high))
        if max(self.slope.high, self.of_reading.high) < UNUSED and -UNUSED < min(self.slope.low, self.of_reading.low):
            return self._unused
        if self.slope.low > self.null and low > 0 and max(self.slope.low, self.of_reading.low) >= UNUSED:
            return USED_ if low >= USED else PARTLY if high < USED else AT_LEAST
        return UNDETERMINED

    @property
    def _unused(self) -> str:
        """Random linear attention holds S and b too, for it sums products of tokens: that was not learned either."""
        if self.untrained_r2 is None or self.r2.low > self.untrained_r2.high:
            return NOT_USED
        return AS_UNTRAINED if self.r2.value <= self.untrained_r2.high else UNDETERMINED

    def data(self) -> dict[str, Any]:
        """Everything that the verdict rests on."""
        return {
            "id": self.id,
            "variable": self.variable,
            "site": self.site,
            "layer": self.layer,
            "verdict": self.verdict,
            "r2": as_json(self.r2),
            "mismatched_r2": as_json(self.mismatched_r2),
            "untrained_r2": as_json(self.untrained_r2),
            "held": list(self.held),
            "own": self.own,
            "slopes": {name: as_json(slope) for name, slope in self.slopes.items()},
            "away": as_json(self.away),
            "untrained": as_json(self.untrained),
        }


def conclude(key: Key, found: SiteReadout, tally: Tally, twins: Sequence[Tally]) -> Cause:
    """Everything measured of one variable at one layer and site.

    Args:
        key: Which.
        found: Its readout.
        tally: What the model did.
        twins: What untrained twins did.
    """
    hook, site, variable = key
    slopes = {name: slopes.estimates for name, slopes in tally.slopes.items()}
    points = torch.cat(tally.points)[:N_DRAWN].tolist() if tally.points else []
    own_r2, other_r2 = (_r2(tally, place) for place in (0, 1))
    return Cause(
        variable=variable,
        site=site.name,
        layer=int(hook.split(".")[1]) + 1,
        r2=own_r2,
        mismatched_r2=other_r2,
        # What is read worse than not at all is not read, however far the twin's activations run away.
        untrained_r2=_spread([max(-1.0, _r2(twin, 0).value) for twin in twins]),
        held=found.held,
        own=found.alone.own,
        slopes={name: estimates[0] for name, estimates in slopes.items()},
        away=slopes["alone"][1] if "alone" in slopes else None,
        untrained=_spread([_read_and_used(twin) for twin in twins if "alone" in twin.slopes]),
        pairs=tuple((predicted, found) for predicted, found in points),
    )


def _r2(tally: Tally, place: int) -> Estimate:
    errors, totals = tally.errors[:, place], tally.totals[:, place]
    return jackknife_ratio(-errors, totals, offset=1.0)


def _read_and_used(twin: Tally) -> float:
    """The slope, no further from zero than the R²: the scale of what an untrained model predicts means nothing."""
    r2, slope = max(0.0, _r2(twin, 0).value), twin.slopes["alone"].estimates[0].value
    return torch.tensor(slope, dtype=torch.float64).clamp(-r2, r2).item()  # NaN stays NaN


def _spread(draws: Sequence[float]) -> Estimate | None:
    """Of at least two twins that were measured; those that left all numbers were not."""
    finite = [draw for draw in draws if math.isfinite(draw)]
    return prediction_interval(torch.tensor(finite, dtype=torch.float64)) if len(finite) > 1 else None
