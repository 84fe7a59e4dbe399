from dataclasses import replace

import pytest

from mesascope.analyses import attach, measure_performance
from mesascope.analyses.report.figures import write_figures
from mesascope.models import LeastSquares, LinearRegression, MesascopeError


@pytest.fixture(scope="module")
def performance():
    return measure_performance(attach(LeastSquares(), task=LinearRegression(n_dims=2, n_points=5)), n_prompts=60)


def test_every_figure_is_a_page_of_its_own_that_loads_nothing(performance, tmp_path):
    written = write_figures(performance, tmp_path)
    assert [path.name for path in written] == [f"{figure.id}.html" for figure in performance.figures()]
    for path, figure in zip(written, performance.figures(), strict=True):
        page = path.read_text("utf-8")
        assert figure.title in page and "Plotly.newPlot" in page
        assert 'src="http' not in page and "<link" not in page
        assert page.index("Content-Security-Policy") < page.index("</head>") and '"showSendToCloud": false' in page


def test_figures_that_cannot_be_written_are_one_line(performance, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MesascopeError, match="^[^\n]*$"):
        write_figures(performance, tmp_path / "file")


def test_a_guide_keeps_its_simple_tags_and_nothing_else(performance, tmp_path, monkeypatch):
    (first, *_) = performance.figures()
    guided = replace(first, guide="<b>Read</b> <script>alert(1)</script>")
    monkeypatch.setattr(type(performance), "figures", lambda self: (guided,))
    page = write_figures(performance, tmp_path)[0].read_text("utf-8")
    assert "<b>Read</b> &lt;script&gt;alert(1)" in page
