"""What one head attends to, in numbers."""

from dataclasses import dataclass
from typing import Any

from mesascope.analyses.claim import as_json
from mesascope.probes import Estimate


def absolute(estimate: Estimate) -> Estimate:
    """Of the number without its sign; the interval begins at zero where that of the signed number holds it."""
    low, high = sorted((abs(estimate.low), abs(estimate.high)))
    return Estimate(abs(estimate.value), 0.0 if estimate.low <= 0 <= estimate.high else low, high)


def label_of(place: tuple[int, int]) -> str:
    """Layers are counted from 1 on, as in all results, heads from 0 on."""
    layer, head = place
    return f"L{layer + 1}H{head}"


@dataclass(frozen=True)
class Copying:
    """How much the tokens of one point attend to each other."""

    form: str
    """"y to x": y's token attends to its own x, as behind a causal mask it must be; or "x to y"."""
    score: Estimate
    """The share of what it attends to beside itself, over the points away from the last."""
    raw: Estimate
    """The share of all its attention."""
    chance: float
    """The score if keys are permuted within each prompt."""
    covered: Estimate
    """The part of those points with a raw share of more than a half, at each as far as its interval allows to say."""
    by_point: tuple[float, ...]
    """The score at every point."""
    raw_by_point: tuple[float, ...]

    def data(self) -> dict[str, Any]:
        """All of it."""
        estimates = {name: as_json(getattr(self, name)) for name in ("score", "raw", "covered")}
        return vars(self) | estimates | {"by_point": list(self.by_point), "raw_by_point": list(self.raw_by_point)}


@dataclass(frozen=True)
class Querying:
    """How much the query's attention to the tokens of one kind follows how like the query's x theirs is."""

    target: str
    """"x", "y" or, where one token holds both, "(x,y)"."""
    correlation: Estimate
    """With ⟨x_q, x_j⟩ over the points of a prompt, the mean over query points; heads come in ± pairs."""
    shuffled: Estimate
    """With ⟨x_q, x_j⟩ of another prompt."""
    label: Estimate
    """With y_j, the control."""
    near: Estimate
    """With −‖x_q − x_j‖²."""
    by_point: tuple[float, ...]
    """The correlation at every query point."""
    mass: Estimate
    """The share of all attention that these tokens get."""
    uniform: Estimate
    """1 if all points get the same of it, 0 if one gets all."""
    moved: Estimate
    """The share of all attention that would have to move between points for all to get the same."""
    nearest: Estimate
    """The share of it on the point with the largest ⟨x_q, x_j⟩."""
    nearest_shuffled: Estimate
    """The same with another prompt's x."""
    match: Estimate
    """Σ_j p_j (s_j − mean s)/(max s − mean s), s_j = ⟨x_q, x_j⟩: prefix matching of tokens that are real numbers."""

    @property
    def strength(self) -> float:
        """|correlation|."""
        return abs(self.correlation.value)

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of |correlation|."""
        return absolute(self.correlation).ci

    def data(self) -> dict[str, Any]:
        """All of it."""
        found = {name: as_json(value) for name, value in vars(self).items() if isinstance(value, Estimate)}
        return {"target": self.target, "by_point": list(self.by_point)} | found


@dataclass(frozen=True)
class HeadReading:
    """One head."""

    layer: int
    """From 0 on, as hooks count them."""
    head: int
    copying: tuple[Copying, ...]
    """In both directions; none where tokens hold x and y."""
    querying: tuple[Querying, ...]
    """The tokens of x and of y."""
    itself: Estimate
    """The query's share on its own token."""
    previous: Estimate
    """The share on the token before, over all tokens."""
    writes: Estimate | None
    """Correlation over prompts of what it adds to the prediction with Σ_j a_j y_j, the y that it attends to; None where
    y is no number."""

    @property
    def place(self) -> tuple[int, int]:
        """(layer, head)."""
        return self.layer, self.head

    @property
    def label(self) -> str:
        """Such as L1H0."""
        return label_of(self.place)

    @property
    def copy(self) -> Copying | None:
        """In the direction in which it copies more."""
        return max(self.copying, key=lambda one: one.score.value, default=None)

    @property
    def query(self) -> Querying:
        """Of the tokens that its attention tells apart better."""
        return max(self.querying, key=lambda one: one.strength)

    def towards(self, target: str) -> Querying | None:
        """What it attends to among the tokens of one kind."""
        return next((one for one in self.querying if one.target in (target, "(x,y)")), None)

    def data(self) -> dict[str, Any]:
        """All of it."""
        return {
            "label": self.label,
            "copying": [one.data() for one in self.copying],
            "querying": [one.data() for one in self.querying],
            "self": as_json(self.itself),
            "previous": as_json(self.previous),
            "writes": None if self.writes is None else as_json(self.writes),
        }
