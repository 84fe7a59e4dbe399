import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from mesascope.analyses.plots import heatmap, lines, with_band
from mesascope.analyses.report.tables import packed, table_of
from mesascope.probes import Estimate


def test_lines_are_rows_under_the_titles_of_their_axes():
    assert table_of(lines([1, 2], {"a": [0.1, 0.2], "b": [0.3, float("nan")]}, "points", "loss"))[:4] == [
        ["series", "points", "loss"],
        ["a", 1, 0.1],
        ["a", 2, 0.2],
        ["b", 1, 0.3],
    ]


def test_intervals_are_their_ends_and_positions_are_labels():
    plot = with_band(
        ["layer 1", "layer 2"], {"a": [Estimate(1.0, 0.5, 1.75)] * 2, "b": [Estimate(2.0, 1.0, 3.0)] * 2}, "R²"
    )
    assert table_of(plot) == [
        ["series", "x", "R²", "low", "high"],
        ["a", "layer 1", 1.0, 0.5, 1.75],
        ["a", "layer 2", 1.0, 0.5, 1.75],
        ["b", "layer 1", 2.0, 1.0, 3.0],
        ["b", "layer 2", 2.0, 1.0, 3.0],
    ]


def test_intervals_of_one_width_and_of_x_are_their_ends_too():
    plot = go.Figure()
    plot.add_scatter(x=[1.0], y=[5.0], error_y={"array": [0.5]})
    plot.add_scatter(x=[1.0], y=["a"], error_x={"array": [0.25], "arrayminus": [0.5]})
    assert table_of(plot) == [["x", "y", "low", "high"], [1.0, 5.0, 4.5, 5.5], [1.0, "a", 0.5, 1.25]]


def test_ticks_of_a_logarithmic_axis_are_no_labels():
    plot = lines([1, 2], {"a": [0.011, 0.2]}, "x", "y", log=True)
    plot.update_yaxes(tickvals=[0.01, 0.1], ticktext=["0.01", "0.1"])
    assert table_of(plot)[1:] == [["a", 1, 0.011], ["a", 2, 0.2]]


def test_cells_of_a_heat_map_are_rows():
    header, *rows = table_of(heatmap(["p", "q"], ["one", "two"], [[0.1, 0.2], [0.3, 0.4]], "points", "R²"))
    assert header == ["points", "y", "R²"]
    assert rows == [["p", "one", 0.1], ["q", "one", 0.2], ["p", "two", 0.3], ["q", "two", 0.4]]


def test_a_heat_map_of_an_array_without_labels_is_counted():
    assert table_of(go.Figure(go.Heatmap(z=np.array([[1.5, 2.5]])))) == [["x", "y", "z"], [0, 0, 1.5], [1, 0, 2.5]]


def test_cells_between_edges_are_named_by_what_hovering_shows():
    heat = go.Heatmap(x=[0.5, 1.5, 3.0], y=["a"], z=[[0.1, 0.2]], customdata=[[1, 2]])
    assert table_of(go.Figure(heat)) == [["x", "y", "z"], [1, "a", 0.1], [2, "a", 0.2]]


def test_panels_are_named_by_their_titles_or_numbers():
    for titles, names in (("left", "right"), ["left", "right"]), (None, [1, 2]):
        plot = make_subplots(1, 2, subplot_titles=titles)
        for column in (1, 2):
            plot.add_scatter(x=[1], y=[column], row=1, col=column)
        header, *rows = table_of(plot)
        assert header[0] == "panel" and [row[0] for row in rows] == names


def test_axes_of_different_titles_keep_their_letters():
    plot = make_subplots(1, 2)
    for column in (1, 2):
        plot.add_scatter(x=[1], y=[1], row=1, col=column)
    plot.update_xaxes(title="λ", col=1)
    assert table_of(plot)[0] == ["panel", "x", "y"]


def test_gaps_in_a_line_are_no_rows_and_words_on_points_are_a_column():
    plot = go.Figure(go.Scatter(x=[1, None, 2], y=[3, None, 4], text=["a", None, "b"]))
    assert table_of(plot) == [["x", "y", "text"], [1, 3, "a"], [2, 4, "b"]]


def test_a_table_keeps_its_columns():
    table = go.Table(header={"values": ["head", ["copy", "score"]]}, cells={"values": [["L1H0", "L1H1"], [0.5, 0.25]]})
    assert table_of(go.Figure(table)) == [["head", "copy score"], ["L1H0", 0.5], ["L1H1", 0.25]]


def test_what_a_menu_shows_is_told_apart():
    plot = go.Figure([go.Scatter(x=[1], y=[i]) for i in range(3)])
    shown = {"layer 1": [True, False, True], "layer 2": [False, True, True]}
    buttons = [{"label": label, "args": [{"visible": visible}]} for label, visible in shown.items()]
    plot.update_layout(updatemenus=[{"buttons": buttons}])
    assert table_of(plot) == [["choice", "x", "y"], ["layer 1", 1, 0], ["layer 2", 1, 1], [None, 1, 2]]


@pytest.mark.parametrize("table", [[["a", "b"], *([i, "x" if i < 5 else None] for i in range(10))], [["a"]], [[]]])
def test_a_packed_table_holds_every_value(table):
    packs = packed(table)
    columns = [[c["words"][i] for i in c["index"]] if isinstance(c, dict) else c for c in packs["columns"]]
    assert [packs["header"], *map(list, zip(*columns, strict=True))] == table
    assert len(table) < 9 or isinstance(packs["columns"][1], dict)


def test_frames_are_told_apart():
    frames = [go.Frame(name=str(step), data=[go.Scatter(x=[1], y=[step])]) for step in (10, 20)]
    plot = go.Figure(go.Scatter(x=[1], y=[10], name="loss"), frames=frames)
    assert table_of(plot) == [["series", "choice", "x", "y"], ["loss", "10", 1, 10], ["loss", "20", 1, 20]]


def test_an_empty_figure_is_an_empty_table():
    assert table_of(go.Figure()) == [[]]
