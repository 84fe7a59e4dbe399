"""When the evidence on one layer is enough for a name: rules that see numbers alone, and know no model."""

from collections.abc import Sequence
from dataclasses import dataclass

from mesascope.analyses.claim import REACHED, fixed
from mesascope.models.battery import NEGLIGIBLE
from mesascope.models.learners.zero import Zero
from mesascope.probes import Estimate

MIN_SKILL = 0.1
"""cos(ŷ, y) below which a layer predicts too little to be compared: every learner's first small step looks like it."""
MAX_UNEXPLAINED = 0.1
"""Share of the predictions beyond which what is left to explain is more than a deviation."""
EXACT = 0.01
"""Share of the learner's own size (see `Match.missed`) that a name may miss of what could be explained."""
SURELY = 2.0
"""How far beyond that the upper end of its interval may lie."""
CLOSER = 0.25
"""A rival is excluded only if the best match misses less than this part of what the rival misses."""
WIN = 0.975
"""Share of bootstraps in which the best match must be nearer than a rival to exclude it."""
ZERO = Zero.family
"""The family that a learner is mixed with to be scaled."""
T_RANGE = (0.05, 0.95)
"""A mixture outside of this, with its interval, is one of the two."""


@dataclass(frozen=True)
class Match:
    """One family's nearest member to a layer's predictions."""

    family: str
    label: str
    unexplained: Estimate
    """Σ (ŷ − ŷ_learner)² / Σ ŷ²."""
    missed: Estimate
    """The same beyond the ceiling's, in units of the smaller of Σ (ŷ_learner − y)² and Σ ŷ_learner².

    In units of its error *and* of its prediction, since either may be small, and agreement on the other says little.
    """
    beaten: float
    """Share of bootstraps over prompts in which the best match is nearer."""
    closeness: float
    """What the best match misses beyond the ceiling, relative to what this one does; 0 is best."""
    n_scalars: int
    """Free scalars that were fitted."""


@dataclass(frozen=True)
class Blend:
    """Two families' members, mixed: t·a + (1−t)·b."""

    families: tuple[str, str]
    labels: tuple[str, str]
    t: Estimate
    missed: Estimate
    """As a match's, in units of the smaller of the blend's error and prediction."""
    beaten: float
    """Share of bootstraps in which the best blend is nearer."""
    unexplained: Estimate
    """As a match's."""
    gained: float
    """Share of bootstraps in which the nearest single family misses more than the blend by `EXACT`."""

    @property
    def label(self) -> str:
        """Both with their shares."""
        return f"{self.labels[0]} and {self.labels[1]} at t={self.t.value:.2f}"


@dataclass(frozen=True)
class Evidence:
    """All that a verdict on one layer depends on."""

    matches: tuple[Match, ...]
    """Every family, the nearest first."""
    ceiling: Estimate
    """Share of ŷ that the best of a spline filter and a regression on all the learners explains."""
    skill: Estimate
    """Mean over prompts of cos(ŷ, y)."""
    untrained_skill: Estimate | None
    """The untrained twins' mean, and the interval in which one more would fall."""
    limits: dict[str, tuple[str, ...]]
    """The simpler families that each family may become."""
    blends: tuple[Blend, ...] = ()
    """The nearest first; only where no single family is near enough."""


@dataclass(frozen=True)
class Verdict:
    """What may be said, and why not more."""

    text: str
    """A family, "mixture of A and B at t", "undetermined: A or B", "like A, but not it", "none of the listed",
    "undetermined: untrained models reach this" or "no algorithm"."""
    families: tuple[str, ...] = ()
    """Those that are not excluded, near enough or not; one if the verdict names it."""
    reason: str = ""
    """Why it is no name, to follow "but"; empty if it is one."""
    t: float | None = None
    """The share of the first family where a mixture is named."""

    @property
    def named(self) -> bool:
        """Whether it names an algorithm, or a mixture of two."""
        return bool(self.families) and not self.reason


def judge(evidence: Evidence) -> Verdict:
    """The verdict on one layer.

    A layer must predict something, more than untrained twins do. Families that are clearly farther than the nearest
    are excluded; of those left, one that is a special case of another keeps the name where it is as near to what
    could be explained, since the richer family need not be tried. The one that is left is a name if it explains what
    could be explained; where several are left and any does, it is undetermined.
    """
    return gate(evidence) or name(evidence)


def wants_mixtures(evidence: Evidence) -> bool:
    """Whether something is predicted that no single family explains, so that mixtures are worth their time."""
    return gate(evidence) is None and not any(map(adequate, simplest(evidence.matches, evidence.limits)))


def gate(evidence: Evidence) -> Verdict | None:
    """Why there is nothing to name, if there is not."""
    skill, untrained = evidence.skill, evidence.untrained_skill
    if skill.high < -MIN_SKILL:
        return Verdict("no algorithm", (), f"it predicts against y (cos(ŷ, y) = {fixed(skill.value)})")
    if not skill.low > MIN_SKILL:
        return Verdict("no algorithm", (), f"it predicts too little to be compared (cos(ŷ, y) = {fixed(skill.value)})")
    if untrained is not None and skill.low <= untrained.high:
        return Verdict(REACHED, (), f"an untrained twin may predict as much (cos ≤ {fixed(untrained.high)})")
    return None


def name(evidence: Evidence) -> Verdict:
    """The family, the mixture, or why neither."""
    alive = simplest(evidence.matches, evidence.limits)
    families = tuple(match.family for match in alive)
    # One that is near enough is not refuted by a rival that is not: that one is not excluded, no more.
    if any(map(adequate, alive)):
        if len(alive) == 1:
            return Verdict(families[0], families)
        return Verdict(
            f"undetermined: {_either(families)}", families, f"that does not tell it from {_either(families[1:])}"
        )
    blends = [blend for blend in evidence.blends if blended(blend)]
    if blends:
        return mixture(blends, evidence.limits)
    best = evidence.matches[0]
    if not _near(best):
        return Verdict("none of the listed", (), f"{best.label} leaves {best.unexplained.value:.2g} of it unexplained")
    like = tuple(match.family for match in alive if _near(match)) or (best.family,)
    nearest = best.label if best.family == like[0] else f"even the nearest, {best.label},"
    missed = f"{nearest} misses {best.missed.value:.2g} of what could be explained ({EXACT:g} is allowed)"
    return Verdict(f"like {_either(like)}, but not it", like, missed)


def mixture(blends: Sequence[Blend], limits: dict[str, tuple[str, ...]]) -> Verdict:
    """The name of a mixture, or of all that fit; where one is a special case of another, the simpler one's.

    A learner mixed with zero is that learner scaled, which is another one.
    """

    def special(simple: Blend, rich: Blend) -> bool:
        return simple is not rich and any(
            all(a in (b, ZERO) or a in limits.get(b, ()) for a, b in zip(simple.families, order, strict=True))
            for order in (rich.families, rich.families[::-1])
        )

    near = [blends[0], *(blend for blend in blends[1:] if blend.beaten < WIN)]
    near += [
        blend
        for blend in blends
        if blend not in near and blend.missed.high <= NEGLIGIBLE and any(special(blend, rich) for rich in near)
    ]
    # Of two that are each other's special cases the nearer one stays.
    kept = [
        rich
        for place, rich in enumerate(near)
        if not any(
            special(simple, rich) and not (place < other and special(rich, simple)) for other, simple in enumerate(near)
        )
    ]
    families = tuple(dict.fromkeys(family for blend in kept for family in blend.families if family != ZERO))
    scaled = next((blend for blend in kept if ZERO in blend.families), None)
    if scaled is not None:
        family, _ = scaled.families
        return Verdict(f"like {family}, but not it", (family,), f"it is {scaled.t.value:.2f} of {scaled.labels[0]}")
    if len(kept) == 1:
        a, b = kept[0].families
        t = kept[0].t.value
        return Verdict(f"mixture of {a} and {b} at t={t:.2f}", families, t=t)
    pairs = [" and ".join(blend.families) for blend in kept]
    return Verdict(f"undetermined: mixture of {_either(pairs)}", families, f"one of {kept[1].label} fits as well")


def adequate(match: Match) -> bool:
    """Whether a family explains what could be explained; NaN, of a learner that overflows, does not."""
    missed = match.missed
    return missed.value <= EXACT and missed.high <= SURELY * EXACT and _near(match)


def _near(match: Match) -> bool:
    """Whether what it leaves is no more than a deviation."""
    return match.unexplained.high <= MAX_UNEXPLAINED


def blended(blend: Blend) -> bool:
    """Whether a mixture explains what could be explained, and is one."""
    near = blend.missed.value <= EXACT and blend.missed.high <= SURELY * EXACT
    near = near and blend.unexplained.high <= MAX_UNEXPLAINED
    return near and blend.gained >= WIN and T_RANGE[0] < blend.t.low and blend.t.high < T_RANGE[1]


def simplest(matches: Sequence[Match], limits: dict[str, tuple[str, ...]]) -> tuple[Match, ...]:
    """The families that are not excluded, without those that a special case stands for."""
    near = {match.family for match in matches if not (match.beaten >= WIN and match.closeness <= CLOSER)}
    # A special case wins no bootstrap against a richer family that is better by next to nothing.
    special = {simpler for family in near for simpler in limits[family]}
    near |= {match.family for match in matches if match.family in special and match.missed.high <= NEGLIGIBLE}
    return tuple(
        match
        for match in matches
        if match.family in near
        and not any(
            _simpler(other, match, limits) and _stands_for(other, match, matches)
            for other in matches
            if other.family in near
        )
    )


def _stands_for(simple: Match, rich: Match, matches: Sequence[Match]) -> bool:
    """Whether a special case may take a richer family's place.

    It must be near enough itself, or miss next to nothing. Where neither is near enough, it must not be beaten, or a
    richer family that is surely nearer would be kept silent about.
    """
    if adequate(simple) or simple.missed.high <= NEGLIGIBLE:
        return True
    nearer = matches.index(simple) < matches.index(rich)
    return not adequate(rich) and (nearer or simple.beaten < WIN)


def _simpler(other: Match, match: Match, limits: dict[str, tuple[str, ...]]) -> bool:
    """Whether one match is a special case of another; of two that are each other's, the one with fewer scalars."""
    if other.family not in limits[match.family]:
        return False
    return match.family not in limits[other.family] or other.n_scalars < match.n_scalars


def _either(families: Sequence[str]) -> str:
    return families[0] if len(families) == 1 else f"{', '.join(families[:-1])} or {families[-1]}"
