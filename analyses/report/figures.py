"""Figures one by one, each as a page that opens anywhere, offline."""

import html
from pathlib import Path

from mesascope.analyses.claim import PLOT_CONFIG, Result
from mesascope.analyses.report.page import POLICY, simple_html
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
        policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        # A plot in the page's own div: it has Plotly inside, so that nothing is loaded.
        page = figure.plot.to_html(include_plotlyjs=True, full_html=True, config=PLOT_CONFIG)
        page = page.replace("<head>", f"<head>{policy}<title>{title}</title>", 1)
        path = folder / f"{figure.id}.html"
        body = f'<body style="font-family:system-ui,sans-serif"><h1>{title}</h1>{guide}'
        write_atomically(path, page.replace("<body>", body, 1))
        written.append(path)
    return written
