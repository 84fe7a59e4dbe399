"""Two pieces of code timed against each other on a machine that does other things too."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Paired:
    """Seconds of ours and of the other, one entry a pair."""

    ours: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Ours over other, pair by pair: a slow spell of the machine hits both halves of a pair."""
        return [ours / other for ours, other in zip(self.ours, self.other, strict=True)]

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)

    @property
    def text(self) -> dict[str, str]:
        """The columns ours, other and ratio of a row; the ratio with its quartiles."""
        low, _, high = statistics.quantiles(self.ratios, n=4)
        return {
            "ours": seconds(statistics.median(self.ours)),
            "other": seconds(statistics.median(self.other)),
            "ratio": f"{self.ratio:.3g} [{low:.3g}, {high:.3g}]",
        }


def paired(
    ours: Callable[[], object], other: Callable[[], object], n_pairs: int, scale: float = 1.0, warm_up: int = 1
) -> Paired:
    """Time A and B in turns.

    Args:
        ours: A.
        other: B.
        n_pairs: How often.
        scale: How much less work `other` does; its seconds are multiplied by this.
        warm_up: Untimed pairs before the first.
    """
    for _ in range(warm_up):
        ours()
        other()
    pairs = [(elapsed(ours), scale * elapsed(other)) for _ in range(n_pairs)]
    return Paired(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


def elapsed(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    return timed(work)[0]


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Wall seconds of one call, and what it returned."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def seconds(value: float) -> str:
    """A duration with three digits."""
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"
