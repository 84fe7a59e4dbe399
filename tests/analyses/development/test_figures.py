import pytest

from mesascope.analyses import Claim
from mesascope.analyses.development import Development
from mesascope.analyses.development.series import Series, by_id

STEPS = [0, 1, 2, 4, 8, 16, 32, 64]


def series(name: str, values: list[float], half: float = 0.01, null: float | None = None) -> Series:
    claims = {
        step: Claim(f"{name}.x", "", value, (value - half, value + half), null, "")
        for step, value in zip(STEPS, values, strict=True)
    }
    return Series.of(name, f"{name} score", name, claims, seed=0)


@pytest.fixture(scope="module")
def found() -> Development:
    falls = series("loss", [5.0, 5.0, 5.0, 5.0, 4.0, 1.0, 1.0, 1.0], null=5.0)
    rises = series("copy", [0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0])
    stays = series("control", [0.2] * 8)
    return Development("a run", tuple(STEPS), (falls, rises, stays), (), 100, 0, None, 0)


def test_what_changes_is_drawn_from_zero_to_one_with_bands_that_hold_it(found):
    timeline = found.figures()[0].plot
    curves = {trace.name: trace for trace in timeline.data if trace.name and trace.legendgroup}
    assert set(curves) == {"loss score", "copy score"}
    for trace in curves.values():
        assert trace.y[0] == pytest.approx(0, abs=0.01) and trace.y[-1] == pytest.approx(1, abs=0.01)
    bands = [trace for trace in timeline.data if trace.fill == "toself"]
    for band, curve in zip(bands, [curves["copy score"], curves["loss score"]], strict=True):
        n = len(STEPS)
        assert all(low <= y <= high for y, high, low in zip(curve.y, band.y[:n], band.y[n:][::-1], strict=True))


def test_a_band_of_a_falling_curve_is_the_right_way_up(found):
    band = next(
        trace for trace in found.figures()[0].plot.data if trace.fill == "toself" and trace.legendgroup == "loss.x"
    )
    n = len(STEPS)
    assert all(high > low for high, low in zip(band.y[:n], band.y[n:][::-1], strict=True))


def test_step_zero_has_a_place_on_the_logarithmic_axis(found):
    for figure in found.figures():
        axis = figure.plot.layout.xaxis
        assert axis.type == "log" and axis.ticktext[0] == "0" and axis.tickvals[0] < 1


def test_the_order_lists_what_changes_from_early_to_late(found):
    order = found.figures()[1].plot
    assert list(order.layout.yaxis.ticktext) == ["copy score", "loss score"]
    onset, half = order.data
    assert all(first <= then for first, then in zip(onset.x, half.x, strict=True))
    assert tuple(half.customdata[0][1:]) == (found.changing[0].half.at, *found.changing[0].half.ci)


def test_each_analysis_has_a_panel_in_its_own_unit_with_its_null(found):
    panels = found.figures()[2].plot
    titles = [panels.get_subplot(row, 1).yaxis.title.text for row in (1, 2, 3)]
    assert titles == ["loss", "copy", "control"]
    nulls = [shape for shape in panels.layout.shapes if shape.line.dash == "dot" and shape.y0 == shape.y1]
    assert [shape.y0 for shape in nulls] == [5.0]


def test_from_the_ninth_on_curves_wait_in_the_legend():
    many = tuple(series(f"q{index}", [0.0] * 4 + [1.0] * 4) for index in range(10))
    timeline = Development("a run", tuple(STEPS), many, (), 100, 0, None, 0).figures()[0].plot
    waiting = {trace.legendgroup for trace in timeline.data if trace.visible == "legendonly" and trace.legendgroup}
    assert waiting == {"q8.x", "q9.x"}


def test_every_guide_says_how_to_read_it(found):
    ids = [figure.id for figure in found.figures()]
    assert ids == ["development-timeline", "development-order", "development-quantities"]
    assert all(len(figure.guide) > 200 and "95%" in figure.guide for figure in found.figures())
    assert all(figure.equation and figure.source for figure in found.figures())


def test_claims_are_listed_by_id_in_the_order_of_the_last_step():
    def claim(id_: str) -> Claim:
        return Claim(id_, "", 1.0, (0.0, 2.0), None, "")

    found = by_id([(0, [claim("a"), claim("gone")]), (1, [claim("b"), claim("a")])])
    assert list(found) == ["b", "a", "gone"]
    assert list(found["a"]) == [0, 1] and list(found["b"]) == [1] and list(found["gone"]) == [0]


def test_a_null_is_the_median_over_checkpoints():
    claims = {step: Claim("a.b", "", 1.0, (0.0, 2.0), null, "") for step, null in enumerate([0.0, None, 1.0, 10.0])}
    assert Series.of("a", "b", "", claims, 0).null == 1.0
