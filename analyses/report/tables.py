"""A figure's numbers as a table, for those who cannot see it or want to draw it themselves."""

from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

Row = Mapping[str, Any]

OTHERS = ("series", "choice", "panel", "x", "y", "z", "low", "high", "text")


def table_of(plot: "PlotlyFigure") -> list[list[Any]]:
    """Every drawn value of every trace, one to a row, under a header.

    Columns are `series` (a trace's name), `choice` (of a menu or of frames) and `panel`, then x, y and z by the titles
    of their axes where all panels share them, `low` and `high` of intervals, and whatever a table in the figure has.
    Positions that stand for a label are given as that label; what a row has not is None.
    """
    named = _titles(plot)
    rows = [{named.get(key, key): value for key, value in row.items()} for row in _rows(plot)]
    header = list(dict.fromkeys(key for row in rows for key in row))
    header = [key for key in header if any(row.get(key) not in (None, "") for row in rows)]
    return [header, *([row.get(key) for key in header] for row in rows)]


def packed(table: list[list[Any]]) -> dict[str, Any]:
    """A table by its columns, what is often repeated by its number: maps of attention are a tenth of their rows."""
    header, *rows = table
    columns: list[Any] = []
    for column in map(list, zip(*rows, strict=True)):
        words = list(dict.fromkeys(column))
        number = {word: i for i, word in enumerate(words)}
        few = 4 * len(words) < len(column)
        columns.append({"words": words, "index": [number[word] for word in column]} if few else column)
    return {"header": header, "columns": columns}


def _rows(plot: "PlotlyFigure") -> Iterator[Row]:
    if not plot.frames:
        choices = _choices(plot)
        for number, trace in enumerate(plot.data):
            yield from _named(trace.name, choices.get(number), _trace_rows(plot, trace))
    for frame in plot.frames:
        for number, trace in enumerate(frame.data):
            # A frame may leave out what does not change, such as names.
            name = trace.name or (plot.data[number].name if number < len(plot.data) else None)
            yield from _named(name, frame.name, _trace_rows(plot, trace))


def _named(name: str | None, choice: str | None, rows: Iterator[Row]) -> Iterator[Row]:
    # Names are escaped where they could be taken for tags.
    yield from ({"series": name and unescape(name), "choice": choice, **row} for row in rows)


def _choices(plot: "PlotlyFigure") -> dict[int, str]:
    """What to choose in the figure's menu to see a trace that is not always shown."""
    buttons = [button for menu in plot.layout.updatemenus for button in menu.buttons if button.args]
    shown = [(button.label, button.args[0].get("visible", ())) for button in buttons]
    return {
        number: next(label for label, visible in shown if visible[number])
        for number in range(len(plot.data))
        if sum(bool(visible[number]) for _, visible in shown if len(visible) > number) == 1
    }


def _trace_rows(plot: "PlotlyFigure", trace: Any) -> Iterator[Row]:
    if trace.type == "table":
        yield from _cells(trace)
    elif trace.type == "heatmap":
        yield from _grid(plot, trace)
    else:
        yield from _points(plot, trace)


def _cells(trace: Any) -> Iterator[Row]:
    header = [
        " ".join(map(str, title)) if isinstance(title, list | tuple) else str(title) for title in trace.header.values
    ]
    for cells in zip_longest(*map(_listed, trace.cells.values)):
        yield dict(zip(header, cells, strict=True))


def _grid(plot: "PlotlyFigure", trace: Any) -> Iterator[Row]:
    place = _place(plot, trace)
    values = [_listed(row) for row in _listed(trace.z)]
    width = max(map(len, values), default=0)
    xs = _labelled(plot, trace, "x") or list(range(width))
    ys = _labelled(plot, trace, "y") or list(range(len(values)))
    # Where x are the edges of cells, the cells' own numbers are what a reader sees on hovering.
    own = [xs] * len(values) if len(xs) == width or trace.customdata is None else map(_listed, trace.customdata)
    for y, row_xs, row in zip(ys, own, values, strict=True):
        yield from ({**place, "x": x, "y": y, "z": z} for x, z in zip(row_xs, row, strict=False))  # a row may end early


def _points(plot: "PlotlyFigure", trace: Any) -> Iterator[Row]:
    place = _place(plot, trace)
    xs, ys = _labelled(plot, trace, "x"), _labelled(plot, trace, "y")
    texts = _listed(trace.text) if "text" in trace and not isinstance(trace.text, str) else []
    low, high = _interval(trace)
    for x, y, text, below, above in zip_longest(xs, ys, texts, low, high):
        if x is not None or y is not None:  # a gap in a line is no value
            yield {**place, "x": x, "y": y, "low": below, "high": above, "text": text}


def _interval(trace: Any) -> tuple[list[Any], list[Any]]:
    """Ends of the intervals of y, or else of x."""
    for key in ("y", "x"):
        bars = trace[f"error_{key}"] if f"error_{key}" in trace else None
        if bars is not None and bars.array is not None:
            values, above = _listed(trace[key]), _listed(bars.array)
            below = above if bars.arrayminus is None else _listed(bars.arrayminus)
            return _sums(values, below, -1), _sums(values, above, 1)
    return [], []


def _sums(values: Sequence[Any], widths: Sequence[Any], sign: int) -> list[Any]:
    pairs = zip(values, widths, strict=True)
    return [None if value is None or width is None else value + sign * width for value, width in pairs]


def _labelled(plot: "PlotlyFigure", trace: Any, key: str) -> list[Any]:
    """Coordinates; on an axis of labels, the nearest label."""
    values, axis = _listed(trace[key]), _axis(plot, trace, key)
    if axis is None or axis.ticktext is None or axis.type == "log" or any(isinstance(v, str) for v in values):
        return values
    ticks = list(zip(axis.tickvals, axis.ticktext, strict=True))
    near = (None if value is None else min(ticks, key=lambda tick: abs(tick[0] - value))[1] for value in values)
    return [unescape(label) if isinstance(label, str) else label for label in near]


def _axis(plot: "PlotlyFigure", trace: Any, key: str) -> Any:
    name = trace[f"{key}axis"] if f"{key}axis" in trace else None
    return plot.layout[f"{key}axis{(name or key)[1:]}"]


def _place(plot: "PlotlyFigure", trace: Any) -> Row:
    """Which panel a trace is drawn in, by its title or else its number, where there are several."""
    panels = sorted({(t.xaxis or "x", t.yaxis or "y") for t in plot.data if "xaxis" in t}, key=_by_number)
    if len(panels) < 2 or "xaxis" not in trace:
        return {}
    # As make_subplots writes titles; titles of rows or columns are not one for each panel.
    titles = [note.text for note in plot.layout.annotations if note.xref == note.yref == "paper" and not note.showarrow]
    names = titles if len(titles) == len(panels) else range(1, len(panels) + 1)
    return {"panel": names[panels.index((trace.xaxis or "x", trace.yaxis or "y"))]}


def _by_number(panel: tuple[str, str]) -> tuple[int, ...]:
    return tuple(int(axis[1:] or 1) for axis in panel)


def _titles(plot: "PlotlyFigure") -> dict[str, str]:
    """What x, y and z are, where that is one thing all over the figure."""
    named: dict[str, str] = {}
    for key in ("x", "y"):
        titles = {_axis(plot, trace, key).title.text for trace in plot.data if f"{key}axis" in trace}
        if len(titles) == 1 and (title := titles.pop()):
            named[key] = title
    bars = {trace.colorbar.title.text for trace in plot.data if trace.type == "heatmap"}
    if len(bars) == 1 and (bar := bars.pop()):
        named["z"] = bar
    # Two columns of one name would lose one of them.
    return named if len({*named.values(), *OTHERS}) == len(named) + len(OTHERS) else {}


def _listed(values: Any) -> list[Any]:
    """An array of any kind as plain Python numbers and text; empty for None."""
    if values is None:
        return []
    return (
        values.tolist()
        if hasattr(values, "tolist")
        else [v.item() if np.isscalar(v) and hasattr(v, "item") else v for v in values]
    )
