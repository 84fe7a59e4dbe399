"""What is known of one layer's response, and which verdict follows from it."""

from dataclasses import dataclass

from mesascope.analyses.claim import REACHED, fixed
from mesascope.analyses.spectral.exact_learners import Rival
from mesascope.probes import Estimate, Exponent, Response

MIN_EXPLAINED, MIN_LINEAR, MAX_OFF_DIAGONAL, CONVERGED = 0.9, 0.9, 0.1, 0.01
"""Gates: shares of the predictions that a filter must explain and that must be linear, the share of the operator that
may lie off its diagonal, and what least squares may leave unexplained beyond any filter where a layer has converged."""
MIN_RESPONSE = 0.1
"""Share of the predictions below which a filter explains next to nothing, in whatever model."""
WORTHY = 0.95
"""Share of what any filter explains that a family's nearest must explain for its exponent to say anything."""


@dataclass(frozen=True)
class LayerResponse:
    """One layer's response at one prefix, with everything that qualifies it."""

    label: str
    response: Response
    exponent: Exponent | None
    """None where there is no response."""
    rivals: dict[str, Rival]
    """Exact learners by family; none without a response."""
    least_squares: Estimate
    """Share that least squares explains."""
    linear_x: Estimate
    linear_y: Estimate
    off_diagonal: Estimate
    shuffled: Estimate
    """Share that a filter of another prompt's S and b explains."""
    untrained: Estimate | None
    """Share that a filter explains in untrained twins: their mean, and the interval for one more; None if bare."""

    @property
    def null(self) -> float:
        """The highest upper end of the nulls' intervals, at least zero."""
        return max(0.0, self.shuffled.high, 0.0 if self.untrained is None else self.untrained.high)

    @property
    def responds(self) -> bool:
        """Whether a filter explains more of it than of anything that has learned nothing."""
        return self.exponent is not None and self.response.ceiling.low > self.null

    @property
    def reached(self) -> bool:
        """Whether there is something that a filter explains, but untrained models may have as much of it."""
        return max(MIN_RESPONSE, self.shuffled.high) < self.response.ceiling.low <= self.null

    @property
    def converged(self) -> bool:
        """Whether least squares explains as good as all that any filter does."""
        return self.response.ceiling.value - self.least_squares.value <= CONVERGED

    @property
    def failed_gates(self) -> tuple[str, ...]:
        """Why a filter is no full account of it."""
        gates = {
            f"a filter explains {fixed(self.response.ceiling.value, 2)}": self.response.ceiling.value >= MIN_EXPLAINED,
            f"linear in x_q to R² {fixed(self.linear_x.value, 2)}": self.linear_x.value >= MIN_LINEAR,
            f"linear in y to R² {fixed(self.linear_y.value, 2)}": self.linear_y.value >= MIN_LINEAR,
            f"{fixed(self.off_diagonal.value, 2)} off the diagonal": self.off_diagonal.value <= MAX_OFF_DIAGONAL,
        }
        return tuple(complaint for complaint, passed in gates.items() if not passed)

    @property
    def verdict(self) -> str:
        """The family whose exact learners predict such things with such an exponent, or why there is none."""
        if not self.responds or self.exponent is None:
            return REACHED if self.reached else "no response"
        if self.failed_gates:
            return "not a filter"
        if self.converged:
            return "least squares"
        least = WORTHY * self.response.ceiling.value
        return alike(
            self.exponent.p, {name: rival.p for name, rival in self.rivals.items() if rival.explained >= least}
        )


def alike(p: Estimate, exponents: dict[str, tuple[float, float] | None]) -> str:
    """Which family an exponent speaks for.

    Args:
        p: A layer's exponent.
        exponents: The least and greatest of each family that predicts alike; None where the data leave it open.
    """
    (low, high), known = p.ci, {family: ends for family, ends in exponents.items() if ends is not None}
    met = [family for family, ends in known.items() if low <= ends[1] and ends[0] <= high]
    if len(exponents) > len(known):  # some family's exponent is open, so that none can be told from it
        return f"like {next(iter(exponents))}" if len(exponents) == 1 else "undetermined"
    if met:
        return f"like {met[0]}" if len(met) == 1 else "undetermined"
    # One interval in twenty misses; only what is well outside is of another shape.
    low, high = low - (high - low) / 4, high + (high - low) / 4
    if any(low <= ends[1] and ends[0] <= high for ends in known.values()):
        return "undetermined"
    below = max(((ends[1], family) for family, ends in known.items() if ends[1] < low), default=None)
    above = min(((ends[0], family) for family, ends in known.items() if ends[0] > high), default=None)
    return f"between {below[1]} and {above[1]}" if below and above else "like no listed family"
