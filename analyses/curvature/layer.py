"""One layer's three readings, and what follows from them together."""

from dataclasses import dataclass
from typing import Any

from mesascope.analyses.claim import as_json, fixed
from mesascope.analyses.curvature.activations import XUpdate
from mesascope.analyses.curvature.intervention import Ablation
from mesascope.analyses.curvature.spectra import Spectra
from mesascope.probes import Estimate

EXPLAINED = 0.95
"""R² from which on a change of x is GD++'s."""
AGREEMENT = 0.1
"""How far readings of one number may be apart, relative to it."""
NEGLIGIBLE = 0.01
"""‖Δx‖/‖x‖ up to which a layer leaves x alone."""
PRESENT, ABSENT, OTHER, UNDETERMINED = "GD++", "no curvature correction", "not GD++", "undetermined"
UNREAD, NOT_APPLICABLE = "nobody reads it", "not applicable"


@dataclass(frozen=True)
class LayerCurvature:
    """One layer by its weights, its activations, and what happens without it."""

    number: int
    """From 1 on."""
    set_aside: str | None = None
    """`UNREAD`, `NOT_APPLICABLE`, or None for a layer that gets a verdict of its own."""
    weights: Estimate | None = None
    """γ of the member of GD++ that is nearest to the weights; None where they hold none, as behind a softmax."""
    update: XUpdate | None = None
    untrained_gamma: tuple[float, ...] = ()
    untrained_r2: tuple[float, ...] = ()
    """By the activations of untrained twins."""
    spectra: Spectra | None = None
    ablation: Ablation | None = None
    """None of a layer that is read by nobody or leaves x alone."""

    @property
    def label(self) -> str:
        """What to call it."""
        return f"layer {self.number}"

    @property
    def null(self) -> float:
        """The highest R² where there is nothing to find: with another prompt's S, and of untrained twins."""
        shuffled = 0.0 if self.update is None else self.update.shuffled.high
        return max((shuffled, *self.untrained_r2))

    @property
    def negligible(self) -> bool:
        """Whether it leaves x alone."""
        return self.update is None or self.update.size.high <= NEGLIGIBLE

    @property
    def doubts(self) -> tuple[str, ...]:
        """What keeps a layer from being called GD++; none if its readings agree."""
        if self.update is None:
            return ("its activations were not read",)
        r2, doubts = self.update.r2, []
        if r2.low < EXPLAINED:
            doubts.append(f"R² is {fixed(r2.value)} [{fixed(r2.low)}, {fixed(r2.high)}], not surely {EXPLAINED:g}")
        if r2.low <= self.null:
            doubts.append(f"R² is not above the {fixed(self.null)} of its nulls")
        if self.weights is None:
            doubts.append("its weights hold no γ, for its attention is not linear")
        elif self.update.gamma.low <= 0:
            doubts.append(f"γ = {four(self.update.gamma)} does not contract x")
        elif not _agree(self.weights, self.update.gamma):
            doubts.append(f"its weights say γ = {four(self.weights)}, its activations {four(self.update.gamma)}")
        if self.ablation is not None:
            doubts += _doubts_of(self.ablation)
        return tuple(doubts)

    @property
    def verdict(self) -> str:
        """GD++ if all readings agree that it is, not GD++ if x changes otherwise; or that nothing can be said."""
        if self.set_aside is not None:
            return self.set_aside
        if self.negligible:
            return ABSENT
        assert self.update is not None
        if self.update.r2.high < EXPLAINED:
            return OTHER
        return UNDETERMINED if self.doubts else PRESENT

    def data(self) -> dict[str, Any]:
        """Everything that the verdict rests on."""
        return {
            "label": self.label,
            "verdict": self.verdict,
            "doubts": list(self.doubts) if self.verdict in (UNDETERMINED, OTHER) else [],
            "weights": as_json(self.weights),
            "activations": None if self.update is None else self.update.data(),
            "untrained": {"gamma": list(self.untrained_gamma), "r2": list(self.untrained_r2)},
            "intervention": None if self.ablation is None else self.ablation.data(),
            "spectra": None if self.spectra is None else self.spectra.data(),
        }


def _agree(one: Estimate, other: Estimate) -> bool:
    """Whether two readings of one number are surely within `AGREEMENT` of it."""
    half = ((one.high - one.low) ** 2 + (other.high - other.low) ** 2) ** 0.5 / 2
    return abs(one.value - other.value) + half <= AGREEMENT * max(abs(one.value), abs(other.value))


def _doubts_of(ablation: Ablation) -> list[str]:
    """What the intervention has against GD++."""
    rise, share = ablation.typical, ablation.share
    if rise.low <= 1 <= rise.high:
        return [f"without it a typical prompt's loss is {four(rise)} times as large, which is no difference"]
    if share.low < 1 - AGREEMENT or share.high > 1 + AGREEMENT:
        return [f"of the rise of the loss that GD++ predicts, on a logarithmic scale, there is {four(share)}"]
    return []


def four(estimate: Estimate) -> str:
    """A number and its interval to four digits, as readings that agree to three need them."""
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"
