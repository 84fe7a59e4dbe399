from dataclasses import replace

import pytest

from mesascope.analyses.scope import attach
from mesascope.analyses.spectral import measure_response
from mesascope.models import GradientDescent

from ..conftest import WIDE


@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_panels_stand_in_rows_of_three(n_layers):
    result = measure_response(attach(GradientDescent(4, 0.1), task=WIDE), n_prompts=400)
    layers = tuple(replace(result.layers[0], label=f"layer {k}") for k in range(n_layers))
    response, exponent, _ = replace(result, prefixes={result.reference: layers}).figures()
    titles = [note.text for note in response.plot.layout.annotations]
    assert titles == [f"layer {k}" for k in range(n_layers)]
    # A band, three exact learners and the layer in every panel; each name once in the legend.
    assert len(response.plot.data) == 5 * n_layers
    named = [trace.name for trace in response.plot.data if trace.showlegend]
    assert named == ["this layer", "exact GD", "exact Newton", "exact ridge"]
    assert [trace.name for trace in exponent.plot.data] == ["layer", "exact GD", "exact Newton", "exact ridge"]
