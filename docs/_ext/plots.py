"""Interactive figures in the pages: Plotly's script once beside them, and `show` for the notebooks."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.display import HTML
    from sphinx.application import Sphinx

    from mesascope.analyses import Figure, Result

DOCS = Path(__file__).parents[1]
SCRIPT = "plotly.min.js"
_shown: list[str] = []


def show(result: "Result", *ids: str, guides: bool = True) -> "HTML":
    """Draw figures of a result in the page, each with its title and its guide.

    Args:
        result: Of any analysis.
        ids: Which of its figures; default all.
        guides: Whether to say how each is read.
    """
    known = {figure.id: figure for figure in result.figures()}
    missing = set(ids) - set(known)
    assert not missing, f"{type(result).__name__} draws {list(known)}, not {sorted(missing)}"
    return html_of((known[name] for name in ids or known), guides)


def html_of(figures: "Iterable[Figure]", guides: bool = True) -> "HTML":
    """Figures as they stand in a page."""
    from IPython.display import HTML

    from mesascope.analyses.claim import PLOT_CONFIG
    from mesascope.analyses.report.page import simple_html

    parts = []
    for figure in figures:
        # The first plot of a page brings the script, from the page's own site.
        where = os.path.relpath(DOCS / "_static" / SCRIPT, Path.cwd())
        script = False if _shown else where.replace(os.sep, "/")
        _shown.append(figure.id)
        plot = figure.plot.to_html(include_plotlyjs=script, full_html=False, config=PLOT_CONFIG)
        said = [figure.guide, *(f"<i>{text}</i>" for text in (figure.equation, figure.source) if text)]
        guide = "".join(f"<p>{simple_html(text)}</p>" for text in said) if guides else ""
        parts.append(f'<div class="figure"><p class="figure-title">{figure.title}</p>{plot}{guide}</div>')
    return HTML("\n".join(parts))


def write_script(app: "Sphinx") -> None:
    """Put Plotly's script, which comes with its Python package, among the site's own files."""
    from plotly.offline import get_plotlyjs

    folder = Path(app.outdir) / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SCRIPT).write_text(get_plotlyjs(), encoding="utf-8")


def setup(app: "Sphinx") -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
