"""The learners that a layer is most similar to, beside what it would be as similar to with nothing learned."""

import math
from dataclasses import dataclass
from typing import Any

from mesascope.analyses.claim import Claim, as_json
from mesascope.analyses.layers import as_subject
from mesascope.models import Learner
from mesascope.probes import Estimate

ABOVE = "above its floor"
"""The verdict on a match that clears every floor."""


@dataclass(frozen=True)
class Match:
    """The member of one family that a layer is most similar to, on prompts other than those it was chosen on."""

    family: str
    learner: Learner
    similarity: Estimate
    zero: float
    """The zero predictor's similarity to the same learner; 0 for weights, of which it has none."""
    shuffled: float
    """That of the layer's predictions (or weights) for another prompt."""
    lead: Estimate
    """The similarity minus the higher of the last two, prompt by prompt."""
    untrained: Estimate | None
    """That of the untrained twins at the same place: their mean, and the interval in which one more would fall."""

    @property
    def floor(self) -> float:
        """The highest of the three."""
        return max(self.zero, self.shuffled, self.untrained.high if self.untrained else -1.0)

    @property
    def verdict(self) -> str:
        """Above its floor, no more than it, or undetermined when an interval says neither. It names no algorithm.

        To be no more than the twins it must be no more than their mean: that one of them may come as far is not that
        nothing was learned.
        """
        twin, usual = (self.untrained.high, self.untrained.value) if self.untrained else (-math.inf, -math.inf)
        if self.lead.low > 0 and self.similarity.low > twin:
            return ABOVE
        below = self.lead.high <= 0 or self.similarity.high <= usual
        return "no more than its floor" if below else "undetermined"

    def data(self) -> dict[str, Any]:
        """The learner, its similarity and its floors."""
        return {
            "family": self.family,
            "learner": self.learner.label,
            "similarity": as_json(self.similarity),
            "zero": self.zero,
            "shuffled": self.shuffled,
            "lead": as_json(self.lead),
            "untrained": self.untrained and as_json(self.untrained),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class LayerSimilarity:
    """One layer's best match in every family, the most similar first."""

    label: str
    matches: tuple[Match, ...]

    @property
    def best(self) -> Match:
        """The most similar family's match."""
        return self.matches[0]

    def claim(self, by: str) -> Claim:
        """What the layer is most like, by errors or by weights, and what comes next."""
        best = self.best
        like = "errs most like" if by == "errors" else "holds weights most like those of"
        rest = ", ".join(f"{match.family} {match.similarity.value:.4f}" for match in self.matches[1:4])
        return Claim(
            id=f"similarity.{by}.{self.label.replace(' ', '_')}",
            text=f"{as_subject(self.label)} {like} {best.learner.label}, with similarity {best.similarity.value:.4f}; "
            f"its floor is {best.floor:.4f}" + (f" (next: {rest})." if rest else "."),
            value=best.similarity.value,
            ci=best.similarity.ci,
            null=best.floor,
            verdict=best.verdict,
        )

    def data(self) -> dict[str, Any]:
        """Every match."""
        return {"label": self.label, "matches": [match.data() for match in self.matches]}
