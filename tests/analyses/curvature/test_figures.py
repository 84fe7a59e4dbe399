import math
from dataclasses import replace

import pytest
import torch

from mesascope.analyses import attach
from mesascope.analyses.curvature import detect_curvature
from mesascope.analyses.curvature.intervention import Ablation
from mesascope.models import HookedRegressor
from mesascope.probes import Estimate
from tests.analyses.curvature.planted import N_DIMS, planted, rotation, with_updates
from tests.models.families import FAMILIES, task_of

ALL = ["curvature-gamma", "curvature-r2", "curvature-spectrum", "curvature-map", "curvature-loss"]


@pytest.fixture(scope="module")
def figures():
    result = detect_curvature(planted(), n_prompts=200, n_scored=200)
    return {figure.id: figure for figure in result.figures()}


def test_every_reading_is_drawn(figures):
    assert list(figures) == ALL


def test_both_gammas_stand_beside_each_other(figures):
    by_name = {trace.name: trace for trace in figures["curvature-gamma"].plot.data}
    for name in ("by the weights", "by the activations"):
        assert by_name[name].y == pytest.approx((0.8, 0.5))
    assert "untrained twins" in by_name


def test_spectra_are_drawn_before_the_first_layer_and_behind_each(figures):
    names = [trace.name.split(" (")[0] for trace in figures["curvature-spectrum"].plot.data]
    assert names == ["before layer 1", "after layer 1", "after layer 2"]
    assert "no test" in figures["curvature-spectrum"].guide
    assert "it falls" in figures["curvature-spectrum"].guide


def test_every_point_of_the_map_lies_on_the_curve_of_exact_gd_plus_plus(figures):
    points, curve = figures["curvature-map"].plot.data[:2]
    assert points.y == pytest.approx(points.x * (1 - 0.8 * points.x) ** 2)
    assert curve.name == "λ(1 − γλ)²"


def test_the_loss_stands_beside_what_is_predicted_on_an_axis_that_holds_both(figures):
    plot = figures["curvature-loss"].plot
    found, predicted = plot.data[:2]
    assert found.y == pytest.approx(predicted.y)
    low, high = plot.layout.yaxis.range
    assert all(low <= math.log10(y) <= high for trace in plot.data for y in trace.y)


def test_losses_of_many_orders_of_magnitude_are_all_on_the_axis():
    result = detect_curvature(planted(), n_prompts=80, n_scored=80)
    huge = Ablation(*[Estimate(value, 0.5 * value, 2 * value) for value in (1e19, 2e19, 1e23, 1e22, 1.0)])
    layers = [replace(layer, ablation=huge) if layer.number == 1 else layer for layer in result.layers]
    plot = replace(result, layers=tuple(layers)).figures()[-1].plot
    low, high = plot.layout.yaxis.range
    assert all(low <= math.log10(y) <= high for trace in plot.data for y in trace.y)
    assert low < 0 < 23 < high


def test_a_condition_number_that_rises_is_said_to():
    result = detect_curvature(planted(gammas=(1.8, 0.0, 0.0)), n_prompts=80, n_scored=80)
    (spectrum,) = (figure for figure in result.figures() if figure.id == "curvature-spectrum")
    assert "it rises" in spectrum.guide


def test_a_softmax_has_neither_gamma_by_weights_nor_a_predicted_loss():
    cfg = FAMILIES["joint softmax"]
    result = detect_curvature(attach(HookedRegressor(cfg), task=task_of(cfg)), n_prompts=80, n_scored=80)
    drawn = {figure.id: figure for figure in result.figures()}
    assert list(drawn) == ALL[:-1]
    assert "by the weights" not in [trace.name for trace in drawn["curvature-gamma"].plot.data]


def test_four_layers_fill_two_rows_of_panels():
    eye = torch.eye(N_DIMS, dtype=torch.float64)
    result = detect_curvature(
        with_updates([0.3 * eye, 0.3 * rotation(), 0.3 * eye, 0.3 * eye, 0 * eye]), n_prompts=80, n_scored=80
    )
    (drawn,) = (figure for figure in result.figures() if figure.id == "curvature-map")
    assert len([trace for trace in drawn.plot.data if trace.name == "an eigenvector"]) == 4
    assert [note.text for note in drawn.plot.layout.annotations] == ["layer 1", "layer 2", "layer 3", "layer 4"]
