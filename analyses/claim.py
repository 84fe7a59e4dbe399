"""What an analysis hands over: claims with their evidence, and figures."""

import math
from dataclasses import asdict, dataclass
from html import escape
from textwrap import shorten
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

    def __repr__(self) -> str:
        return f"<Figure {self.id}: {self.title}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **options: Any) -> Any:
        """What a notebook shows: the plot, as plotly would."""
        return self.plot._repr_mimebundle_(include, exclude, **{"config": PLOT_CONFIG} | options)


PLOT_CONFIG: dict[str, Any] = {"displaylogo": False, "showSendToCloud": False, "plotlyServerURL": ""}
"""What Plotly is told wherever a figure is drawn: by itself it offers to open a site and to send the plot there."""


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

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep the short `__repr__`: a dataclass makes one of all its numbers, unless the class has its own."""
        super().__init_subclass__(**options)
        cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        try:
            said = "; ".join(f"{claim.text} [{claim.verdict}]" for claim in self.headlines[:1])
        except Exception as error:  # a repr is asked for while things go wrong
            said = f"its claims raise {type(error).__name__}"
        return shorten(f"<{type(self).__name__}: {said or 'no claim'}", 300, placeholder=" …") + ">"

    def _repr_html_(self) -> str:
        """What a notebook shows: the claims as a table, with the warnings."""
        claims = self.claims
        rows = [_row("th", ("claim", "value", "95% interval", "null", "verdict"))]
        rows += [_row("td", _cells(claim)) for claim in claims[:N_SHOWN]]
        more = [f"{len(claims) - N_SHOWN} more in .claims"] if len(claims) > N_SHOWN else []
        notes = "".join(f"<p>{escape(note)}</p>" for note in (*more, *self.warnings))
        return f"<h4>{escape(self.title)}</h4><p>{escape(self.question)}</p><table>{''.join(rows)}</table>{notes}"

    def to_json(self) -> dict[str, Any]:
        """This result as `report.json` holds it; NaN and infinities become null."""
        claims = [asdict(claim) for claim in self.claims]
        return finite({"claims": claims, "warnings": list(self.warnings), "data": self.data()})


N_SHOWN = 25
"""Most claims in a notebook's table."""


def _cells(claim: Claim) -> tuple[str, ...]:
    interval = "" if claim.ci is None else f"{claim.ci[0]:.4g} to {claim.ci[1]:.4g}"
    value, null = ("" if number is None else f"{number:.4g}" for number in (claim.value, claim.null))
    return claim.text, value, interval, null, claim.verdict


def _row(tag: str, cells: tuple[str, ...]) -> str:
    filled = (f'<{tag} style="text-align:left">{escape(cell)}</{tag}>' for cell in cells)
    return f"<tr>{''.join(filled)}</tr>"


REACHED = "undetermined: untrained models reach this"
"""A verdict on what there is, but no more of than a model that has learned nothing might have."""
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
