"""Figures for a paper: SVG and PDF at the width of one column or two, dark ink on nothing."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mesascope.analyses.claim import Figure, Result
from mesascope.models import MesascopeError
from mesascope.models.files import write_atomically

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

PER_INCH = 96
"""CSS pixels to an inch, which is how SVG and Chromium's PDF read a pixel."""
ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0
"""Widths in inches, as most journals and proceedings print them."""
FONT = 12
"""In pixels, which is 9 points; titles of axes are a fifth larger, minor ticks and exponents smaller."""
INK = "#1b1b1f"
FORMATS = ("svg", "pdf")
REMEDY = "pip install 'mesascope[figures]', and Chromium or Chrome (on Debian: apt install chromium)"


def check_exporter() -> None:
    """Look for what draws figures without a screen, before minutes are spent.

    Raises:
        MesascopeError: kaleido is not installed, or finds no Chromium or Chrome.
    """
    if find_spec("kaleido") is None:
        raise MesascopeError(f"SVG and PDF figures need kaleido, which is not installed; {REMEDY}")
    from choreographer.browsers import Chromium

    path = Chromium.find_browser(skip_local=False)  # BROWSER_PATH, the PATH, and the usual places
    if path is None or not Path(path).is_file():
        where = "none was found" if path is None else f"none is at {path}"
        raise MesascopeError(f"SVG and PDF figures are drawn by Chromium or Chrome, and {where}; {REMEDY}")


def export_figures(results: Iterable[Result], folder: Path) -> list[Path]:
    """Write each figure of each result as `folder/ID.svg` and `folder/ID.pdf`; each atomically.

    Figures of one simple panel are 3.4 inches wide, others 7; text is of 8 points or more but for exponents and minor
    ticks, and the ground is transparent. All is vectors but the cells of heat maps.

    Raises:
        MesascopeError: There is nothing to draw with (see `check_exporter`), or a file cannot be written.
    """
    check_exporter()
    import kaleido

    page = kaleido.PageGenerator(mathjax=False)  # or it would be asked for on the net
    page.header += "<style>@page { margin: 0 }</style>"  # or the figure is shrunk into a margin
    figures = [figure for result in results for figure in result.figures()]
    with TemporaryDirectory() as drawn:
        orders = [order for figure in figures for order in _orders(figure, Path(drawn))]
        kaleido.write_fig_from_object_sync(orders, cancel_on_error=True, kopts={"page_generator": page})
        written = []
        for order in orders:
            path = folder / Path(order["path"]).name
            write_atomically(path, Path(order["path"]).read_bytes())
            written.append(path)
    return written


def _orders(figure: Figure, folder: Path) -> list[dict[str, Any]]:
    plot = for_paper(figure.plot)
    size = {"width": plot.layout.width, "height": plot.layout.height}
    return [
        {"fig": plot, "path": str(folder / f"{figure.id}.{format}"), "opts": {"format": format, **size}}
        for format in FORMATS
    ]


def for_paper(plot: "PlotlyFigure") -> "PlotlyFigure":
    """The same figure in dark ink, with no text under 8 points, as wide as one column if it is simple, or two."""
    from plotly.graph_objects import Figure as PlotlyFigure

    paper = PlotlyFigure(plot)
    width = round(PER_INCH * (ONE_COLUMN if is_simple(plot) else TWO_COLUMNS))
    font = {"family": "Arial, Helvetica, Liberation Sans, sans-serif", "size": FONT, "color": INK}
    paper.update_layout(
        font=font, width=width, height=_height(plot, width), margin={"l": 55, "r": 15, "t": 22, "b": 45}
    )
    paper.update_layout(updatemenus=[], sliders=[], overwrite=True)  # nothing can be chosen on paper
    paper.update_annotations(font={"size": FONT, "color": INK})
    for update in (paper.update_xaxes, paper.update_yaxes):
        update(automargin=True, title_standoff=6, tickfont_size=FONT - 1)
    paper.update_traces(textfont_size=FONT - 1, selector={"type": "heatmap"})
    return paper


def is_simple(plot: "PlotlyFigure") -> bool:
    """Whether one column is enough: one panel, of lines or points, with few names on it."""
    panels = [axis for axis in plot.to_dict()["layout"] if axis.startswith("xaxis")]
    labels = plot.layout.xaxis.ticktext or ()
    kinds = {trace.type for trace in plot.data}
    return len(panels) <= 1 and kinds <= {"scatter", "bar"} and len(_named(plot)) <= 5 and len(labels) <= 5


def _named(plot: "PlotlyFigure") -> list[str]:
    """What the legend lists."""
    return [trace.name for trace in plot.data if trace.name and trace.showlegend is not False]


def _height(plot: "PlotlyFigure", width: int) -> int:
    """That of the page, scaled, for panels; else three quarters of one column, with the legend's lines on top."""
    if not is_simple(plot):
        return round((plot.layout.height or 450) * 0.8)
    return round(0.72 * width) + 18 * len(_named(plot))
