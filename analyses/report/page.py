"""The HTML page: the verdict first, then claims, then figures by question; nothing is loaded from outside."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mesascope.analyses.claim import PLOT_CONFIG, Figure, Result, finite
from mesascope.analyses.report.tables import packed, table_of

LEADS = {"predictions": "Predictions", "weights": "Weights", "causes": "Causes"}
"""What stands before each of the three sentences."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'"
)
"""Content-Security-Policy of every page: it may ask for nothing, wherever it is opened; browsers hold it to that."""


@dataclass(frozen=True)
class Numbered:
    """A figure with its number on the page."""

    number: int
    figure: Figure

    @property
    def guide(self) -> Markup:
        """How to read it."""
        return simple_html(self.figure.guide)

    @property
    def equation(self) -> Markup:
        """What is drawn."""
        return simple_html(self.figure.equation)

    @property
    def table(self) -> dict[str, Any]:
        """Its values, exactly."""
        return packed(finite(table_of(self.figure.plot)))


@dataclass(frozen=True)
class Section:
    """One result with its numbered figures."""

    result: Result
    claims: list[dict[str, Any]]
    """As `report.json` holds them."""
    figures: list[Numbered]

    @property
    def headlines(self) -> list[dict[str, Any]]:
        """The claims that open the report."""
        ids = {claim.id for claim in self.result.headlines}
        return [claim for claim in self.claims if claim["id"] in ids]

    def figure_of(self, claim_id: str) -> Numbered | None:
        """The figure that says it shows a claim, else the section's first; None where there is none."""
        for numbered in self.figures:
            if any(fnmatchcase(claim_id, pattern) for pattern in numbered.figure.shows):
                return numbered
        return self.figures[0] if self.figures else None


@dataclass(frozen=True)
class Found:
    """A result as it is reported: what may refuse is made once, where a refusal costs this result alone."""

    result: Result
    content: dict[str, Any]
    """As `report.json` holds it."""
    figures: tuple[Figure, ...]

    @classmethod
    def of(cls, result: Result) -> "Found":
        """Its content and its figures."""
        return cls(result, result.to_json(), result.figures())


@dataclass(frozen=True)
class Table:
    """Rows that stand before the sections, such as a sweep's checkpoints."""

    id: str
    title: str
    caption: str
    guide: str
    """How to read it; may hold simple HTML."""
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @property
    def packed(self) -> dict[str, Any]:
        """Its values, exactly."""
        return packed(finite([list(self.columns), *map(list, self.rows)]))


@dataclass(frozen=True)
class Dress:
    """How a page presents what it holds, where that is not one checkpoint with every analysis."""

    kind: str = "report"
    """The command that it comes from."""
    title: str | None = None
    """What heads it; default the checkpoint's name."""
    about: Sequence[tuple[str, str]] = ()
    """What else was looked at, and how: terms with their descriptions."""
    tables: Sequence[Table] = ()
    json: str = "report.json"
    """The file beside it that holds the same numbers."""


def render(content: dict[str, Any], found: Mapping[str, Found], dress: Dress | None = None) -> str:
    """The page for a report's JSON content and the results whose figures it shows."""
    from plotly.offline import get_plotlyjs

    dress = dress or Dress()
    loader = PackageLoader("mesascope.analyses.report", "template")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {"number": number, "interval": interval, "embed": embed, "anchor": anchors(), "cell": cell}
    environment.filters |= filters | {"simple": simple_html}
    environment.globals |= {"leads": LEADS, "raw": lambda name: Markup(loader.get_source(environment, name)[0])}
    shown = list(sections(content, found))
    home = {claim["id"]: section for section in shown for claim in section.claims}
    return environment.get_template("page.html.j2").render(
        content=content,
        dress=dress,
        subjects=subjects(content),
        sections=shown,
        home=home,
        plotly=Markup(get_plotlyjs()),
        plot_config=PLOT_CONFIG,
        policy=Markup(POLICY),
    )


def sections(content: dict[str, Any], found: Mapping[str, Found]) -> Iterator[Section]:
    """Results in their order, with figures counted through."""
    numbers = count(1)
    for name, each in found.items():
        figures = [Numbered(next(numbers), figure) for figure in each.figures]
        yield Section(each.result, content["analyses"][name]["claims"], figures)


def subjects(content: dict[str, Any]) -> list[dict[str, Any]]:
    """What was looked at: several checkpoints where the content lists them, else its one, or none."""
    several: list[dict[str, Any]] = content.get("checkpoints", [])
    return several or [content] * ("model" in content)


def number(value: float | None) -> str:
    """A number with four significant digits and a real minus sign, or a dash."""
    return "–" if value is None else f"{value:.4g}".replace("-", "\u2212")


def interval(ci: list[float | None] | None) -> str:
    """An interval in brackets; with more digits where three would hide its width."""
    if ci is None or None in ci:
        return "–"
    low, high = ci
    digits = 3
    while digits < 6 and f"{low:.{digits}g}" == f"{high:.{digits}g}" and low != high:
        digits += 1
    return f"[{low:.{digits}g}, {high:.{digits}g}]".replace("-", "\u2212")


def cell(value: Any) -> str:
    """A value of a table."""
    return number(value) if isinstance(value, float) or value is None else str(value)


def anchor(name: str) -> str:
    """A name as an id in a page, which may hold no space."""
    return re.sub(r"[^\w.-]+", "-", name)


def anchors() -> Callable[[str], str]:
    """Ids of one page: as `anchor` makes them, and numbered where it makes one of two names."""
    owners: dict[str, str] = {}

    def own(name: str) -> str:
        ids = (anchor(name) + (f"-{n}" if n > 1 else "") for n in count(1))
        return next(id for id in ids if owners.setdefault(id, name) == name)

    return own


def simple_html(text: str) -> Markup:
    """Text in which only tags without attributes that shape letters are tags; anything else is shown as it is."""
    return Markup(re.sub(r"&lt;(/?(?:b|i|em|strong|sub|sup|code))&gt;", r"<\1>", str(escape(text))))


def embed(value: Any) -> Markup:
    """JSON that is safe inside a script element."""
    text = value if isinstance(value, str) else json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
