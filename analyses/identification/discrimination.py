"""Which rivals can be told apart on which prompts, and how many it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from scipy.stats import norm
from torch import Tensor

from mesascope.analyses.identification.contest import Contest
from mesascope.analyses.identification.judging import WIN
from mesascope.models import Learner
from mesascope.models.battery import Target

NOISE, POWER = 0.01, 0.9
"""Share of the predictions that nothing explains, and the probability of success, for which prompts are counted."""
SAME = 1e-6
"""Share of a learner's predictions below which another is the same: no number of prompts would do."""
N_NEAREST = 6
"""Families that are told apart, the nearest to the model: the others are far."""


@dataclass(frozen=True)
class Separation:
    """How well one family can pass for another's member."""

    planted: str
    """The learner that is imitated."""
    rival: str
    """The member of another family that imitates it best."""
    share: float
    """Share of the planted learner's predictions that it leaves unexplained."""
    n_prompts: int | None
    """Prompts that tell them apart with probability .9, if 1% of the predictions is noise; None if none would."""

    def __str__(self) -> str:
        if self.n_prompts is None:
            return f"{self.rival} predicts the same as {self.planted} on these prompts: no number of them tells which"
        return (
            f"{self.rival} leaves {self.share:.2g} of {self.planted} unexplained; "
            f"{self.n_prompts:,} prompts tell them apart"
        )


@dataclass(frozen=True)
class Discrimination:
    """The rivals nearest to a model, and how hard it is to tell the nearest from each, the hardest first."""

    separations: tuple[Separation, ...]
    families: tuple[str, ...]
    confusion: tuple[tuple[float, ...], ...]
    """Row i: learner i as if it were the model; column j: what the best of family j leaves of it unexplained."""
    apart: tuple[float, ...]
    """Its entries for families that are no special case of each other."""

    @property
    def worst(self) -> float:
        """The least that any rival leaves unexplained of another, special cases of each other apart; 1 if alone."""
        return min(self.apart, default=1.0)

    @property
    def hardest(self) -> Separation | None:
        """The pair that takes most prompts; None if there is one family only."""
        return self.separations[0] if self.separations else None

    def warnings(self, n_prompts: int) -> tuple[str, ...]:
        """Rivals that so few prompts cannot tell apart, and those that no number of them can."""
        short = [s for s in self.separations if s.n_prompts is not None and s.n_prompts > n_prompts]
        never = [s for s in self.separations if s.n_prompts is None]
        found = [f"With {n_prompts:,} prompts some rivals cannot be told apart: {short[0]}."] if short else []
        if never:
            rest, plural = ", ".join(s.rival for s in never), "" if len(never) > 1 else "s"
            found.append(
                f"No number of such prompts tells some rivals apart: {rest} predict{plural} the same as "
                f"{never[0].planted}."
            )
        return tuple(found)

    def data(self) -> dict[str, Any]:
        """All pairs."""
        return {
            "families": list(self.families),
            "confusion": [list(row) for row in self.confusion],
            "pairs": [vars(separation) for separation in self.separations],
        }


def discriminate(
    contest: Contest, learners: Mapping[str, Learner], near: Float[Tensor, "batch n_counted"]
) -> Discrimination:
    """Plant each learner as if it were the model, and see how well each other family imitates it.

    Args:
        contest: Prompts and rivals.
        learners: A member of each family, the nearest to the model first; the first six are told apart.
        near: The model's predictions, whose size the noise is measured in.
    """
    families = list(learners)[:N_NEAREST]
    sigma2 = NOISE * near.square().mean().item()
    target = Target(contest.prompts, contest.points, near)
    planted = {family: target.predict(learners[family]) for family in families}
    rows, separations, apart = [], [], []
    found = {family: contest.fit(preds, n_refined=1, among=families) for family, preds in planted.items()}
    for family in families:
        preds = planted[family]
        size = preds.square().sum(1)
        row = []
        for other in families:
            rival = learners[family] if other == family else found[family][other]
            missed = (target.predict(rival) - preds).square().sum(1)
            row.append((missed.sum() / size.sum().clamp(min=1e-300)).item())
            if other != family and not _related(learners[family], rival):
                apart.append(row[-1])
            if family == families[0] and other != family and not _related(learners[family], rival):
                separations.append(
                    Separation(learners[family].label, rival.label, row[-1], needed(missed, size, sigma2))
                )
        rows.append(tuple(row))
    hardest = sorted(separations, key=lambda s: (s.n_prompts is not None, -(s.n_prompts or 0), s.share))
    return Discrimination(tuple(hardest), tuple(families), tuple(rows), tuple(apart))


def _related(a: Learner, b: Learner) -> bool:
    """Whether one's family is a special case of the other's: the simpler name is then given to both."""
    return a.family in b.limits or b.family in a.limits


def needed(missed: Float[Tensor, " batch"], size: Float[Tensor, " batch"], sigma2: float) -> int | None:
    """Prompts after which the difference in squared error between two learners is seen with probability .9.

    By prompt the difference has the mean D = Σ_t (ŷ_A − ŷ_B)² and, with noise of variance σ² in what the model
    predicts, the variance Var(D) + 4σ²D: so n = (z_.975 + z_.9)² (Var(D) + 4σ²D) / D².
    """
    mean = missed.mean().item()
    if mean <= SAME * size.mean().item():
        return None
    z = norm.ppf(WIN) + norm.ppf(POWER)
    return max(2, int(-(-(z**2 * (missed.var().item() + 4 * sigma2 * mean) / mean**2) // 1)))
