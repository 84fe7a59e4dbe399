"""Every layer against every family by one measure: matches chosen on some prompts, scored on others."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mesascope.analyses.claim import Claim
from mesascope.analyses.similarity.bench import Bench
from mesascope.analyses.similarity.course import Course, choose_courses
from mesascope.analyses.similarity.finals import Finals
from mesascope.analyses.similarity.match import LayerSimilarity
from mesascope.models.learners.base import Sweep
from mesascope.probes.similarity import Roster


@dataclass(frozen=True)
class Comparison:
    """Every layer against every family, by errors or by weights."""

    by: str
    layers: tuple[LayerSimilarity, ...]
    courses: tuple[Course, ...]
    """One for every family that makes steps."""
    ceiling: tuple[tuple[float, ...], ...]
    """Row i: the output's match i as if it were the model, against every family in the order of those matches."""
    by_part: dict[str, tuple[float, ...]]
    """The output's similarity to each family's match: by weights after each of the prefixes, by errors in one part."""
    n_prompts: int
    n_tune: int

    @property
    def output(self) -> LayerSimilarity:
        """The model's own prediction."""
        return self.layers[-1]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """One a layer, the output first."""
        return tuple(layer.claim(self.by) for layer in reversed(self.layers))

    def data(self) -> dict[str, Any]:
        """Every layer's matches and floors, the courses over steps, and the ceiling."""
        return {
            "n_prompts": self.n_prompts,
            "n_tune": self.n_tune,
            "layers": [layer.data() for layer in self.layers],
            "courses": {course.family: course.data() for course in self.courses},
            "ceiling": [list(row) for row in self.ceiling],
            "by_part": {family: list(row) for family, row in self.by_part.items()},
        }


def compare(bench: Bench, sweeps: Sequence[Sweep], n_prompts: int, n_tune: int) -> Comparison:
    """Choose every layer's matches on some prompts, and score them on others beside floors and ceiling.

    Args:
        bench: The model and its measure.
        sweeps: The rivals.
        n_prompts: Prompts to score on, `bench.enough`.
        n_tune: Prompts to choose on, `bench.enough`.
    """
    roster = Roster(sweeps)
    tuned = bench.tally(n_tune, "similarity tune", bench.own, roster).mean
    chosen = [roster.best(row) for row in tuned]
    planted = sorted(chosen[-1].values())
    as_model = partial(bench.given, roster.only(planted))
    known = bench.tally(n_tune, "similarity tune", as_model, roster).mean
    chosen_by = dict(zip(planted, (roster.best(row) for row in known), strict=True))

    finalists = sorted({index for best in [*chosen, *chosen_by.values()] for index in best.values()})
    finals = Finals(bench, roster, finalists, planted, n_prompts)
    layers = tuple(finals.layer(layer, label, chosen[layer]) for layer, label in enumerate(bench.labels))
    families = {match.family: chosen[-1][match.family] for match in layers[-1].matches}
    ceiling = tuple(
        tuple(finals.of_planted(index, chosen_by[index][family]) for family in families) for index in families.values()
    )
    return Comparison(
        by=bench.measure.by,
        layers=layers,
        courses=choose_courses(roster, tuned, layers),
        ceiling=ceiling,
        by_part={family: finals.by_part(index) for family, index in families.items()},
        n_prompts=n_prompts,
        n_tune=n_tune,
    )
