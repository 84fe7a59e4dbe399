"""What an analysis hands over: claims with their evidence, and figures."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mesascope.probes import Estimate

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

Evidence = Literal["predictions", "weights", "causes"]
"""What a verdict rests on: what is predicted, what the weights are, what follows when parts are changed."""


@dataclass(frozen=True)
class Claim:
    """One sentence with its number, interval, null and verdict."""

    id: str
    """Stable name, such as `readouts.y.layer3`."""
    text: str
    """One sentence that can be quoted."""
    value: float | None
    """The number; None where there is none to give."""
    ci: tuple[float, float] | None
    """95% interval of the number."""
    null: float | None
    """What the number is where there is nothing to find."""
    verdict: str
    """What follows, in a word or two; "undetermined" is a verdict."""


@dataclass(frozen=True)
class Figure:
    """A drawn figure with what a reader needs to read it."""

    id: str
    title: str
    guide: str
    """How to read it, one paragraph; may hold simple HTML."""
    plot: "PlotlyFigure"
    shows: tuple[str, ...] = ()
    """Ids of the claims that it shows, `*` for any part; what no figure names is shown by the section's first."""
    equation: str = ""
    """What is drawn, as a formula; may hold simple HTML."""
    source: str = ""
    """Where the measure comes from, with our departures."""


class Result:
    """Base of every analysis' result; subclasses are frozen dataclasses.

    `name` is the analysis' name in `report.json` and of its file or folder, `question` heads its section.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    evidence: ClassVar[Evidence | None] = None
    """Which of the three sentences that open a report it speaks in; None for none."""

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What was found, the most important first."""
        raise NotImplementedError

    @property
    def headlines(self) -> tuple[Claim, ...]:
        """The claims that open a report."""
        return self.claims[:1]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before believing the claims."""
        return ()

    def figures(self) -> tuple[Figure, ...]:
        """The evidence, drawn."""
        return ()

    def data(self) -> dict[str, Any]:
        """The numbers behind the figures, as JSON."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """This result as `report.json` holds it; NaN and infinities become null."""
        claims = [asdict(claim) for claim in self.claims]
        return finite({"claims": claims, "warnings": list(self.warnings), "data": self.data()})


NOT_LINEAR = "The task is not linear in x: learners on features of x, such as a deep model's, are not among the rivals."
"""A warning of every result that holds a model against learners."""


def as_json(estimate: Estimate | None) -> dict[str, Any] | None:
    """A number with its interval; None if it was not measured."""
    return None if estimate is None else {"value": estimate.value, "ci": list(estimate.ci)}


def fixed(value: float, digits: int = 3) -> str:
    """A number with fixed decimals, without the minus sign of a negative zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def finite(value: Any) -> Any:
    """The same structure with non-finite numbers as None, which JSON can hold."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
