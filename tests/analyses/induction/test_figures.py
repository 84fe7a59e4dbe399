from dataclasses import replace

import pytest

from mesascope.analyses.induction.table import both_ways, two_ways

ALWAYS = ["maps", "scores", "correlation"]


@pytest.mark.parametrize(
    "which, drawn",
    [
        ("copied", ["points", "ablation", "loss", "circuit", "composition", "derivatives", "two-ways"]),
        ("discrete", ["points", "ablation", "loss", "circuit", "composition", "derivatives", "two-ways"]),
        ("stepped", ["ablation", "loss", "two-ways"]),
    ],
)
def test_what_there_is_to_draw_is_drawn_with_a_guide(request, which, drawn):
    figures = request.getfixturevalue(which).figures()
    assert [figure.id for figure in figures] == [f"induction-{name}" for name in (*ALWAYS, *drawn)]
    for figure in figures:
        assert figure.title and len(figure.guide) > 100 and figure.equation and figure.source
        assert figure.plot.data and figure.plot.to_json()


def test_each_kind_of_claim_has_its_figure(copied):
    shown = {pattern: figure.id for figure in copied.figures() for pattern in figure.shows}
    assert shown == {
        "induction.copy": "induction-scores",
        "induction.query": "induction-scores",
        "induction.layer*": "induction-correlation",
        "induction.model": "induction-circuit",
    }


def test_maps_show_one_layer_at_a_time(copied):
    maps = copied.figures()[0].plot
    assert [trace.visible for trace in maps.data] == [True, False]
    (menu,) = maps.layout.updatemenus
    assert [list(button.args[0]["visible"]) for button in menu.buttons] == [[True, False], [False, True]]
    assert maps.data[0].x[:3] == ("x_0", "y_0", "x_1")


def test_on_one_hot_tokens_both_ways_say_the_same_of_planted_heads(discrete):
    rows = both_ways(discrete)
    for on_points, on_tokens, label in (
        ("y_i → x_i", "previous token", "L1H0"),
        ("|r|, tokens of y", "prefix matching", "L2H0"),
    ):
        assert rows[label][on_points] == pytest.approx(rows[label][on_tokens], abs=1e-3)
        assert rows[label][on_points] == pytest.approx(1, abs=1e-3)


def test_what_a_head_does_not_have_is_left_out_of_the_table(discrete, copied):
    rows = both_ways(discrete)
    assert rows["L1H0"]["W_QK to I"] is None and rows["L2H0"]["W_QK to I"] == pytest.approx(1, abs=1e-3)
    none_has = tuple(replace(row, matching=None) for row in discrete.discrete)
    columns = two_ways(replace(discrete, discrete=none_has)).plot.data[0].x
    assert "W_QK<br>one back" in columns and "W_QK<br>to I" not in columns
    assert "W_QK one back" not in both_ways(copied)["L1H0"]


def test_on_points_matching_is_weighted_by_similarity(copied, stepped):
    assert 0.3 < (both_ways(copied)["L2H0"]["prefix matching"] or 0.0) < 1
    row = both_ways(stepped)["L1H0"]
    assert row["y_i → x_i"] is None and row["|r|, tokens of x"] is None and row["writes y"] == pytest.approx(1)
