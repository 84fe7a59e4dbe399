"""The HTML page: claims first, figures under them, nothing loaded from outside."""

import json
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mesascope.analyses.claim import Result


def render(content: dict[str, Any], results: dict[str, Result]) -> str:
    """The page for a report's JSON content and the results whose figures it shows."""
    from plotly.offline import get_plotlyjs

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "interval": interval, "embed": embed}
    template = environment.from_string((files("mesascope.analyses.report") / "page.html.j2").read_text("utf-8"))
    sections = [
        {
            "result": result,
            "claims": content["analyses"][name]["claims"],
            "headlines": content["analyses"][name]["claims"][: len(result.headlines)],
            "figures": result.figures(),
        }
        for name, result in results.items()
    ]
    return template.render(content=content, sections=sections, plotly=Markup(get_plotlyjs()))


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


def embed(value: Any) -> Markup:
    """JSON that is safe inside a script element."""
    text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
