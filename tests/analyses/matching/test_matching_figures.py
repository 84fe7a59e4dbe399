"""What is drawn, and of which layers."""

import numpy as np
import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.matching import match_weights
from mesascope.analyses.matching.figures import N_DRAWN
from mesascope.models import (
    HookedRegressor,
    RegressorConfig,
    copy_then_descend,
    gd_plus_plus,
    gradient_descent,
    preconditioned_gradient_descent,
)

LSA = RegressorConfig.linear_self_attention
A = torch.diag(torch.tensor([0.2, 0.5, 1.0, 2.0], dtype=torch.float64))
ALL = ["matching-distances", "matching-scalars", "matching-products"]
FAMILIES_DRAWN = ["GD", "GD++", "preconditioned GD", "preconditioned GD++"]


def figures_of(model, **fields):
    found = match_weights(attach(model, **fields))
    return found, {figure.id: figure for figure in found.figures()}


def values(trace):
    """All numbers of a trace that are numbers."""
    given = trace.z if trace.type == "heatmap" else trace.y
    array = np.asarray(given, dtype=float).ravel()
    return array[np.isfinite(array)]


def assert_complete(figures, ids):
    assert list(figures) == ids
    for figure in figures.values():
        assert figure.title and figure.guide and len(figure.plot.data) > 0
        for trace in figure.plot.data:
            assert len(values(trace)) > 0, f"{figure.id}: {trace.name} is empty"
            if trace.type == "scatter":
                assert len(trace.x) == len(trace.y)


@pytest.mark.parametrize(
    "model",
    [
        gradient_descent(4, 9, [0.3]),
        gradient_descent(4, 9, [0.3, 0.2]),
        gd_plus_plus(4, 9, [0.3, 0.2], [0.1, 0.4]),
        preconditioned_gradient_descent(9, [A]),
        gradient_descent(1, 9, [0.3, 0.2]),
        copy_then_descend(3, 6, 0.6),
    ],
)
def test_named_layers_are_drawn_with_everything_there_is(model):
    found, figures = figures_of(model)
    scalars = found.n_context is not None
    assert_complete(figures, [name for name in ALL if scalars or name != "matching-scalars"])


@pytest.mark.parametrize("n_layers", [1, 2])
def test_layers_without_a_name_have_no_scalars_to_draw(n_layers):
    found, figures = figures_of(HookedRegressor(LSA(4, 9, n_layers), 3))
    assert not any(layer.named for layer in found.layers)
    assert_complete(figures, ["matching-distances", "matching-products"])


def test_nothing_is_drawn_of_layers_that_are_all_zero():
    _, figures = figures_of(gradient_descent(4, 9, [0.0, 0.0]))
    assert figures == {}


def test_a_layer_of_zeros_is_left_out():
    _, figures = figures_of(gradient_descent(4, 9, [0.3, 0.0, 0.2]))
    assert_complete(figures, ALL)
    titles = [note.text for note in figures["matching-products"].plot.layout.annotations]
    assert any("layer 3" in title for title in titles) and not any("layer 2" in title for title in titles)


def test_the_distances_are_those_of_each_family_with_its_interval_and_chance():
    found, figures = figures_of(HookedRegressor(LSA(4, 9, 2), 3))
    plot = figures["matching-distances"].plot
    *series, chance = plot.data
    assert [trace.name for trace in series] == FAMILIES_DRAWN and chance.name == "chance"
    for place, trace in enumerate(series):
        expected = [layer.matches[place].distance.value for layer in found.layers]
        assert list(trace.y) == pytest.approx(expected)
    nulls = [layer.matches[place].null for place in range(4) for layer in found.layers]
    assert list(chance.y) == pytest.approx(nulls)
    # A dash stands over the mark that it is the chance of.
    assert list(chance.x) == [place for trace in series for place in trace.x]


def test_distances_are_drawn_on_a_logarithmic_axis_that_holds_exact_ones():
    """An exact construction is at 1e-8 or zero, which no logarithm has."""
    _, figures = figures_of(gradient_descent(4, 9, [0.3, 0.2], dtype=torch.float64))
    plot = figures["matching-distances"].plot
    assert plot.layout.yaxis.type == "log"
    low, high = plot.layout.yaxis.range
    assert np.isfinite([low, high]).all() and low < high <= 1


def test_a_family_that_only_some_layers_could_hold_is_drawn_there():
    found, figures = figures_of(copy_then_descend(3, 6, 0.6))
    plot = figures["matching-distances"].plot
    copies = next(trace for trace in plot.data if trace.name == "neighbour copy")
    assert len(values(copies)) == 1 and len(copies.y) == len(found.layers)
    chance = plot.data[-1]
    assert len(values(chance)) == sum(len(layer.matches) for layer in found.layers)


def test_the_scalars_are_those_of_the_named_layers():
    found, figures = figures_of(gd_plus_plus(4, 9, [0.3, 0.2], [0.1, 0.4]))
    traces = {trace.name: trace for trace in figures["matching-scalars"].plot.data}
    assert list(traces) == ["η", "γ"]
    assert list(traces["η"].y) == pytest.approx([0.3, 0.2], rel=1e-5)
    gammas = list(traces["γ"].y)
    assert gammas[0] == pytest.approx(0.1, rel=1e-5) and not np.isfinite(np.float64(gammas[1]))  # read by nobody
    _, plain = figures_of(gradient_descent(4, 9, [0.3, 0.2]))
    assert [trace.name for trace in plain["matching-scalars"].plot.data] == ["η"]


def test_only_named_layers_have_scalars():
    model = gradient_descent(4, 9, [0.3, 0.2])
    random = HookedRegressor(model.cfg, 3).attentions[0]
    with torch.no_grad():
        model.attentions[0].qkv_weight.copy_(random.qkv_weight)
        model.attentions[0].out_weight.copy_(random.out_weight)
    found, figures = figures_of(model)
    assert [layer.named for layer in found.layers] == [False, True]
    assert_complete(figures, ALL)
    (trace,) = figures["matching-scalars"].plot.data
    assert list(trace.y) == pytest.approx([0.2], rel=1e-5)


def test_softmax_heads_have_products_and_no_scalars():
    _, figures = figures_of("zoo:softmax-heads")
    assert_complete(figures, ["matching-distances", "matching-products"])


def test_both_products_stand_beside_those_of_the_nearest_on_one_scale():
    found, figures = figures_of(HookedRegressor(LSA(4, 9, 2, 2), 3))
    plot = figures["matching-products"].plot
    assert len(plot.data) == 4 * len(found.layers)
    for row, layer in enumerate(found.layers):
        assert layer.best is not None
        QK, QK_near, OV, OV_near = plot.data[4 * row : 4 * row + 4]
        for trace, matrix in (
            (QK, layer.QK),
            (QK_near, layer.best.nearest.QK),
            (OV, layer.OV),
            (OV_near, layer.best.nearest.OV),
        ):
            np.testing.assert_allclose(np.asarray(trace.z, dtype=float), matrix.numpy())
        for own, near in ((QK, QK_near), (OV, OV_near)):
            bound = max(np.abs(values(own)).max(), np.abs(values(near)).max())
            assert own.zmax == near.zmax == pytest.approx(bound) and own.zmin == near.zmin == -own.zmax
    titles = [note.text for note in plot.layout.annotations]
    assert titles[:4] == ["QK, layer 1", "QK of the nearest, layer 1", "OV, layer 1", "OV of the nearest, layer 1"]


@pytest.mark.parametrize("n_layers", [N_DRAWN, N_DRAWN + 1])
def test_of_many_layers_the_first_and_the_last_are_drawn(n_layers):
    _, figures = figures_of(gradient_descent(2, 9, [0.3] * n_layers))
    plot = figures["matching-products"].plot
    assert len(plot.data) == 4 * N_DRAWN
    drawn = sorted({int(note.text.split()[-1]) for note in plot.layout.annotations})
    assert drawn == ([1, 2, 3, 4, 5, 6] if n_layers == N_DRAWN else [1, 2, 3, 5, 6, 7])


def test_every_layer_is_in_the_other_figures():
    found, figures = figures_of(gradient_descent(2, 9, [0.3] * (N_DRAWN + 1)))
    assert len(figures["matching-distances"].plot.data[0].y) == len(found.layers)
    assert len(figures["matching-scalars"].plot.data[0].y) == len(found.layers)


def test_every_figure_can_be_written_as_json():
    _, figures = figures_of(gd_plus_plus(4, 9, [0.3, 0.2], [0.1, 0.4]))
    assert all(figure.plot.to_json() for figure in figures.values())
