"""One line of a sweep's table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mesascope.analyses.claim import Claim
from mesascope.analyses.identification import Identification
from mesascope.analyses.performance import Performance
from mesascope.analyses.store import Store
from mesascope.analyses.sweep.job import Errors, stored


@dataclass(frozen=True)
class Row:
    """A checkpoint, what it is, and what was found of it."""

    source: str
    key: str | None = None
    """Of its content and the settings: the folder of its results; None if it could not be loaded."""
    about: dict[str, Any] = field(default_factory=dict)
    """Task and size."""
    copy_of: str | None = None
    """The first checkpoint with the same content, if it is not this one."""
    headlines: dict[str, tuple[Claim, ...]] = field(default_factory=dict)
    """The most important claims of each analysis."""
    numbers: dict[str, float] = field(default_factory=dict)
    """Numbers of the table that are no headline, such as the loss."""
    warnings: tuple[str, ...] = ()
    """What its analyses say that a reader must know before believing them, each once."""
    not_asked: tuple[str, ...] = ()
    """Analyses that do not apply to it."""
    seconds: float = 0.0
    """What its analyses took, when they were run."""
    cpu_seconds: float = 0.0
    """On all cores; on a busy machine this is the number to plan with."""
    errors: Errors = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether everything that was asked for is there."""
        return not self.errors

    @property
    def error(self) -> str:
        """What went wrong, in a line."""
        return "; ".join(f"{name}: {line}" for name, line in self.errors.items())

    def first(self, analysis: str) -> Claim | None:
        """An analysis' most important claim."""
        return next(iter(self.headlines.get(analysis, ())), None)

    @property
    def state(self) -> str:
        """Done, a copy of another, or failed."""
        return "failed" if self.errors else "done" if self.copy_of is None else "copy"

    def cells(self, analyses: Sequence[str]) -> dict[str, Any]:
        """As one line of a table: the verdicts before what they rest on."""
        claims = {name: self.first(name) for name in analyses}
        cells: dict[str, Any] = {"checkpoint": self.source, "state": self.state, "copy_of": self.copy_of}
        for name, claim in claims.items():
            cells[name] = claim.verdict if claim else "does not apply" if name in self.not_asked else None
        cells |= {**self.numbers, **self.about}
        for name, claim in claims.items():
            low, high = (None, None) if claim is None or claim.ci is None else claim.ci
            value, null = (None, None) if claim is None else (claim.value, claim.null)
            cells |= {f"{name}.value": value, f"{name}.low": low, f"{name}.high": high, f"{name}.null": null}
        cells |= {"seconds": round(self.seconds, 2), "cpu_seconds": round(self.cpu_seconds, 2)}
        warnings = " ".join(self.warnings) or None
        return {**cells, "key": self.key, "warnings": warnings, "error": self.error or None}


def read_row(store: Store, source: str, key: str, about: dict[str, Any], analyses: Sequence[str]) -> Row:
    """What is stored of a checkpoint."""
    contents = {name: stored(store, key, name) for name in analyses}
    found = {name: content for name, content in contents.items() if content is not None}
    applied = {name: content for name, content in found.items() if content["applies"]}
    numbers: dict[str, float] = {}
    for name, extract in NUMBERS.items():
        if name in applied:
            numbers |= extract(applied[name]["data"])
    return Row(
        source,
        key,
        about,
        headlines={name: _claims(content, content["headlines"]) for name, content in applied.items()},
        numbers=numbers,
        warnings=tuple(dict.fromkeys(warning for content in applied.values() for warning in content["warnings"])),
        not_asked=tuple(name for name in found if name not in applied),
        seconds=sum((content["seconds"] for content in found.values()), 0.0),
        cpu_seconds=sum((content["cpu_seconds"] for content in found.values()), 0.0),
    )


def read_claims(store: Store, key: str, analyses: Sequence[str]) -> list[Claim]:
    """All claims that are stored of a checkpoint."""
    contents = (stored(store, key, name) for name in analyses)
    return [claim for content in contents if content and content["applies"] for claim in _claims(content)]


def _claims(content: dict[str, Any], ids: Sequence[str] | None = None) -> tuple[Claim, ...]:
    kept = (claim for claim in content["claims"] if ids is None or claim["id"] in ids)
    return tuple(Claim(**claim | {"ci": _ends(claim["ci"])}) for claim in kept)


def _ends(ci: list[float | None] | None) -> tuple[float, float] | None:
    """An interval as it is stored; None if an end was not finite."""
    low, high = ci or (None, None)
    return None if low is None or high is None else (low, high)


def _loss(data: dict[str, Any]) -> dict[str, float]:
    """Loss / loss of predicting zero, the mean over the task's components."""
    losses = [1 - part["skill"]["value"] for part in data["components"]]
    return {"loss": sum(losses) / len(losses)}


def _strengths(data: dict[str, Any]) -> dict[str, float]:
    """The scalars of the learner that the output is nearest to, such as η; only where it is named."""
    output = data["layers"][-1]
    return {symbol: strength["value"] for symbol, strength in output["strength"].items()} if output["families"] else {}


NUMBERS: dict[str, Callable[[dict[str, Any]], dict[str, float]]] = {
    Performance.name: _loss,
    Identification.name: _strengths,
}
"""What a table shows of an analysis besides its first claim."""
