"""Figures one by one, each as a page that opens anywhere, offline."""

import html
from pathlib import Path

from mesascope.analyses.claim import Result
from mesascope.analyses.report.page import simple_html
from mesascope.models.files import write_atomically


def write_figures(result: Result, folder: Path) -> list[Path]:
    """Write each figure of a result as `folder/ID.html`, with its title and guide; atomically.

    Raises:
        MesascopeError: A file cannot be written.
    """
    written = []
    for figure in result.figures():
        title = html.escape(figure.title)
        guide = f'<p style="max-width:60em">{simple_html(figure.guide)}</p>'
        head = f'<meta charset="utf-8"><title>{title}</title><h1>{title}</h1>{guide}'
        # A plot in the page's own div: it has Plotly inside, so that nothing is loaded.
        page = figure.plot.to_html(include_plotlyjs=True, full_html=True)
        path = folder / f"{figure.id}.html"
        write_atomically(path, page.replace("<body>", f'<body style="font-family:system-ui,sans-serif">{head}', 1))
        written.append(path)
    return written
