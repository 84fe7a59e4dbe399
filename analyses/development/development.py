"""Follow a run's checkpoints: what is measured of each, when it changes, and in which order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mesascope.analyses.claim import Claim, Figure, Result
from mesascope.analyses.development.claims import change_claim, order_claim
from mesascope.analyses.development.followed import Followed, choose
from mesascope.analyses.development.measured import SCHEMA, Measured
from mesascope.analyses.development.series import Series, by_id
from mesascope.analyses.findings import reason_of
from mesascope.analyses.scope import Scope, attach
from mesascope.analyses.store import Store, content_key, fingerprint
from mesascope.models import MesascopeError, checkpoints_of
from mesascope.probes.change_points import MIN_POINTS

MIN_PROMPTS = 80
"""Fewest prompts that every analysis that is followed can do with."""


@dataclass(frozen=True)
class Development(Result):
    """Quantities over the checkpoints of a run, with their change points and the order of these."""

    name: ClassVar[str] = "development"
    title: ClassVar[str] = "Development"
    question: ClassVar[str] = "When does each part of the mechanism form, and in which order?"

    run: str
    steps: tuple[int, ...]
    """The checkpoints that were measured."""
    series: tuple[Series, ...]
    """What is followed; the first is what the others are ordered against."""
    skipped: tuple[str, ...]
    """What could not be measured, and why."""
    n_prompts: int
    seed: int
    w_std: float | None
    """The scale of w, where the user says it."""
    n_measured: int
    """Measurements that this call made; all others were stored."""
    device: str = "cpu"

    @property
    def reference(self) -> Series:
        """The loss, or whatever was asked for first."""
        return self.series[0]

    @property
    def changing(self) -> tuple[Series, ...]:
        """The series that change, the earliest first."""
        found = ((series.half.at, series) for series in self.series if series.half is not None)
        return tuple(series for _, series in sorted(found, key=lambda pair: pair[0]))

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The loss, then the order of one quantity of each analysis against it, then all else."""
        first = self.headlines
        orders = (claim for series in self._others for claim in self._orders(series))
        told = {claim.id for claim in first}
        return (*first, *(claim for claim in orders if claim.id not in told), *map(change_claim, self._others))

    @property
    def headlines(self) -> tuple[Claim, ...]:
        """When the loss changes, and whether the first quantity of each analysis does before it."""
        firsts = {series.analysis: series.id for series in reversed(self._others) if series.half is not None}
        chosen = (series for series in self._others if firsts.get(series.analysis) == series.id)
        orders = (order_claim(series, self.reference) for series in chosen)
        return (change_claim(self.reference), *(claim for claim in orders if claim is not None))

    @property
    def _others(self) -> tuple[Series, ...]:
        return self.series[1:]

    def _orders(self, series: Series) -> Iterator[Claim]:
        for onset in (False, True):
            if (claim := order_claim(series, self.reference, onset)) is not None:
                yield claim

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out."""
        return self.skipped

    def figures(self) -> tuple[Figure, ...]:
        """All on one axis, the order, and each in its own unit."""
        from mesascope.analyses.development.figures import draw

        return draw(self)

    def data(self) -> dict[str, Any]:
        """Every number of every series."""
        return {
            "run": self.run,
            "seed": self.seed,
            "n_prompts": self.n_prompts,
            "steps": list(self.steps),
            "series": [series.data() for series in self.series],
        }


def trace_development(
    run: str | Path,
    analyses: Sequence[str] | Mapping[str, Followed] | None = None,
    *,
    n_prompts: int = 500,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "cpu",
    w_std: float | None = None,
    on_checkpoint: Callable[[str], None] = lambda name: None,
) -> Development:
    """Measure every checkpoint of a run, and find when each quantity changes.

    A quantity is a claim with a number and an interval, followed by its id. One checkpoint is in memory at a time, and
    the untrained twins, which all of a run's checkpoints have in common. What refuses, lacks memory or meets a matrix
    that cannot be solved is named in `skipped`, a checkpoint or an analysis of one, and costs nothing else.

    Args:
        run: A run folder that keeps checkpoints, or `zoo:NAME`.
        analyses: Names in a list or one alone, `"all"` for every one (default those of `FOLLOWED`), or analyses of
            your own by name.
        n_prompts: Prompts that each analysis scores at each checkpoint.
        seed: Seed of every prompt and resample.
        out: Folder in which what was measured is kept: nothing in it is measured again.
        device: Where to run the models.
        w_std: Scale of w, for runs that do not record it.
        on_checkpoint: Called with the name of each checkpoint as it starts.

    Raises:
        MesascopeError: There is no such run or analysis, fewer than five checkpoints can be measured, there are too few
            prompts, or nothing with a number and an interval was found.
    """
    followed = dict(analyses) if isinstance(analyses, Mapping) else choose(analyses)
    if n_prompts < MIN_PROMPTS:
        raise MesascopeError(f"n_prompts={n_prompts}: the intervals need at least {MIN_PROMPTS}")
    survey = _Survey(followed, n_prompts, Store(None if out is None else Path(out)))
    checkpoints = checkpoints_of(run)
    _need_enough(str(run), len(checkpoints))
    for step, address in checkpoints:
        on_checkpoint(f"step {step}")
        survey.measure(step, lambda address=address: attach(address, seed=seed, device=device, w_std=w_std))  # type: ignore[misc]
    _need_enough(str(run), len(survey.steps), survey.skipped)
    return Development(
        str(run),
        tuple(survey.steps),
        survey.series(str(run), seed),
        tuple(survey.skipped),
        n_prompts,
        seed,
        w_std,
        survey.n_measured,
        device,
    )


class _Survey:
    """What was measured so far."""

    def __init__(self, followed: Mapping[str, Followed], n_prompts: int, store: Store):
        self.followed, self.n_prompts, self.store = followed, n_prompts, store
        self.steps: list[int] = []
        self.skipped: list[str] = []
        self.n_measured = 0
        self._found: dict[str, list[tuple[int, Measured]]] = {name: [] for name in followed}
        self._twins: tuple[Scope, ...] | None = None

    def measure(self, step: int, load: Callable[[], Scope]) -> None:
        """Measure a checkpoint, or read what was stored of it; one that cannot be read is skipped."""
        try:
            scope = load()
        except Exception as error:
            self.skipped.append(f"Step {step} was skipped: {_reason(error)}.")
            return
        self.steps.append(step)
        weights = fingerprint(scope)
        for name, followed in self.followed.items():
            settings = {"n_prompts": self.n_prompts, "ids": followed.ids}
            key = content_key(scope, weights, schema=SCHEMA, analysis=name, settings=settings)
            measured = Measured.read(self.store, name, key)
            if measured is None:
                measured, lasts = self._run(scope, followed)
                if lasts:
                    measured.write(self.store, name, key)
            if measured.error:
                self.skipped.append(f"{name} could not be measured at step {step}: {measured.error}.")
            self._found[name].append((step, measured))

    def _run(self, scope: Scope, followed: Followed) -> tuple[Measured, bool]:
        """What an analysis finds, and whether it lasts: with more memory another call may find more."""
        self.n_measured += 1
        try:
            self._share_twins(scope)
            if not followed.applies(scope):
                return Measured((), applies=False), True
            return Measured(tuple(followed.quantities(followed.run(scope, self.n_prompts).claims))), True
        except Exception as error:
            return Measured((), error=_reason(error)), isinstance(error, MesascopeError)

    def _share_twins(self, scope: Scope) -> None:
        """Give a scope the twins of the first: their weights depend on architecture and seed alone."""
        if self._twins is None:
            self._twins = scope.untrained
        twins = self._twins
        scope.once(("untrained",), lambda: twins)

    def series(self, run: str, seed: int) -> tuple[Series, ...]:
        """Every quantity that was found.

        Raises:
            MesascopeError: There is none.
        """
        found = []
        for name, followed in self.followed.items():
            claims = by_id([(step, measured.claims) for step, measured in self._found[name]])
            found += [Series.of(name, followed.label(id_), followed.unit, of_id, seed) for id_, of_id in claims.items()]
        if not found:
            needs = "; ".join(f"{name} needs {one.needs}" for name, one in self.followed.items() if one.needs)
            why = self.skipped[0] if self.skipped else needs or "no claim has a number and an interval"
            raise MesascopeError(f"{run} has nothing to follow by {', '.join(self.followed)}: {why.rstrip('.')}")
        return tuple(found)


def _reason(error: Exception) -> str:
    """Why something could not be measured; a mistake of ours is raised again."""
    if (reason := reason_of(error)) is None:
        raise error
    return reason


def _need_enough(run: str, n_checkpoints: int, skipped: Sequence[str] = ()) -> None:
    if n_checkpoints < MIN_POINTS:
        which = f" that can be used ({skipped[0].rstrip('.')})" if skipped else ""
        raise MesascopeError(
            f"{run} keeps {n_checkpoints} checkpoint{'' if n_checkpoints == 1 else 's'}{which}, and change points need "
            f"{MIN_POINTS}; train longer, or on a finer grid with checkpoints_per_doubling"
        )
