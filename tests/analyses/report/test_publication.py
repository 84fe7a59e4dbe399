import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from mesascope.analyses.plots import heatmap, lines, with_band
from mesascope.analyses.report import check_exporter, export_figures, publication
from mesascope.analyses.report.publication import FONT, INK, for_paper, is_simple
from mesascope.models import MesascopeError

from .planted import BAND, Planted


@pytest.fixture(scope="module")
def written(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return export_figures([Planted(n_figures=3)], tmp_path_factory.mktemp("figures") / "new")


def test_every_figure_is_svg_and_pdf(written):
    assert [path.name for path in written] == [
        f"{name}.{format}" for name in ("first", "second one", "third") for format in ("svg", "pdf")
    ]
    assert sorted(written[0].parent.iterdir()) == sorted(written)
    assert all(path.read_bytes().startswith(b"%PDF") for path in written if path.suffix == ".pdf")


def test_svg_is_as_wide_as_a_column_and_is_no_picture(written):
    root = ElementTree.parse(written[0]).getroot()
    assert root.get("width") == str(round(3.4 * 96))
    names = {element.tag.split("}")[1] for element in root.iter()}
    assert "image" not in names and {"text", "path"} <= names
    words = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert {"a", "b", "readout", "R²"} <= words


def test_pdf_is_one_page_of_that_size(written):
    pdf = written[1].read_bytes()
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") == 1
    left, bottom, right, top = (float(side) for side in pdf.split(b"/MediaBox [")[1].split(b"]")[0].split())
    assert (right - left) / 72 == pytest.approx(3.4, abs=0.02)


@pytest.mark.parametrize(
    "plot, simple",
    [
        (with_band(["a", "b"], BAND, "R²"), True),
        (lines([1], {"a": [1.0]}, "t", "loss"), True),
        (lines([1], {str(i): [1.0] for i in range(6)}, "t", "loss"), False),  # too long a legend
        (with_band([str(i) for i in range(6)], {"a": BAND["readout"] * 3}, "R²"), False),  # too many labels
        (heatmap([1], ["a"], [[1.0]], "t", "R²"), False),
        (make_subplots(1, 2), False),
    ],
)
def test_only_simple_figures_fit_one_column(plot, simple):
    assert is_simple(plot) is simple
    assert for_paper(plot).layout.width == round(96 * (3.4 if simple else 7))


def test_on_paper_all_words_are_dark_and_large_enough():
    plot = lines([1], {"a": [1.0]}, "t", "loss")
    plot.add_annotation(text="small", font={"size": 5, "color": "#eee"})
    paper = for_paper(plot)
    fonts = [paper.layout.font, *(note.font for note in paper.layout.annotations)]
    assert all(font.color == INK and font.size == FONT for font in fonts)
    assert FONT * 0.75 >= 8 and paper.layout.xaxis.tickfont.size * 0.75 >= 8  # points
    assert plot.layout.font.size != FONT  # the report's own figure stays as it is


def test_paper_has_no_menus():
    plot = go.Figure(layout={"updatemenus": [{"buttons": [{"label": "a"}]}], "sliders": [{}]})
    assert for_paper(plot).layout.updatemenus == for_paper(plot).layout.sliders == ()


def test_a_legend_takes_no_room_from_a_column():
    one, four = (for_paper(lines([1], {str(i): [1.0] for i in range(n)}, "t", "loss")) for n in (1, 4))
    assert four.layout.height > one.layout.height
    hidden = go.Figure([go.Scatter(x=[1], y=[1], name=str(i), showlegend=False) for i in range(9)])
    assert for_paper(hidden).layout.height < one.layout.height


def test_without_kaleido_the_remedy_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    monkeypatch.setattr(publication, "find_spec", lambda name: None)
    with pytest.raises(MesascopeError, match=r"^SVG and PDF figures need kaleido.*pip install 'mesascope\[figures\]'"):
        check_exporter()


@pytest.mark.parametrize(
    "path, part", [("/nowhere/chromium", "none is at /nowhere/chromium"), (None, "none was found")]
)
def test_without_a_browser_the_remedy_is_one_line(monkeypatch, tmp_path, path, part):
    from choreographer.browsers import Chromium

    monkeypatch.setattr(Chromium, "find_browser", lambda skip_local: path)
    with pytest.raises(MesascopeError, match=rf"^[^\n]*{part}; [^\n]*apt install chromium[^\n]*$"):
        export_figures([Planted()], tmp_path / "figures")
    assert not (tmp_path / "figures").exists()
