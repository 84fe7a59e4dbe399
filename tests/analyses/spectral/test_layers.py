import pytest

from mesascope.analyses.claim import REACHED
from mesascope.analyses.spectral.exact_learners import Rival
from mesascope.analyses.spectral.layers import LayerResponse
from mesascope.probes import Estimate, Exponent, Response


def estimate(value, half=0.0):
    return Estimate(value, value - half, value + half)


def layer(p=1.0, half=0.1, rivals=None, ceiling=0.97, converged=0.5, **fields):
    curve = Response(7, 4, (1.0,), (estimate(0.5),), {"points": estimate(ceiling, 0.01)}, "points")
    given = {"GD": (1.0, 1.2), "Newton": (1.9, 2.1), "ridge": (0.5, 0.6)} if rivals is None else rivals
    found = {
        family: Rival(family, 0.96, ends, ()) if not isinstance(ends, Rival) else ends for family, ends in given.items()
    }
    return LayerResponse(
        **{
            "label": "layer 1",
            "response": curve,
            "exponent": Exponent(estimate(p, half), estimate(1.0), 0.9, "points"),
            "rivals": found,
            "least_squares": estimate(converged),
            "linear_x": estimate(1.0),
            "linear_y": estimate(1.0),
            "off_diagonal": estimate(0.0),
            "shuffled": estimate(0.0, 0.01),
            "untrained": estimate(0.0, 0.1),
        }
        | fields
    )


@pytest.mark.parametrize(
    "given, verdict",
    [
        (layer(1.0), "like GD"),
        (layer(2.0), "like Newton"),
        (layer(0.55, 0.01), "like ridge"),
        (layer(0.8), "between ridge and GD"),
        (layer(1.5), "between GD and Newton"),
        (layer(1.32), "undetermined"),  # hardly outside
        (layer(3.0), "like no listed family"),
        (layer(0.1), "like no listed family"),
        (layer(1.5, 0.5), "undetermined"),
        (layer(converged=0.965), "least squares"),
        (layer(exponent=None), "no response"),
        (layer(ceiling=0.1), "no response"),
        (layer(untrained=estimate(0.9, 0.1)), REACHED),
        (layer(ceiling=0.1, untrained=estimate(0.9, 0.1)), "no response"),
        (layer(untrained=estimate(0.9, 0.1), shuffled=estimate(0.95, 0.1)), "no response"),
        (layer(shuffled=estimate(0.9, 0.1), untrained=None), "no response"),
        (layer(ceiling=0.89), "not a filter"),
        (layer(linear_x=estimate(0.89)), "not a filter"),
        (layer(linear_y=estimate(0.89)), "not a filter"),
        (layer(off_diagonal=estimate(0.11)), "not a filter"),
        # A family that does not predict alike is no rival, whatever its exponent.
        (
            layer(2.0, rivals={"GD": (1.0, 1.2), "Newton": Rival("Newton", 0.9, (1.9, 2.1), ())}),
            "like no listed family",
        ),
        (layer(1.0, rivals={"GD": (1.0, 1.2), "Newton": None}), "undetermined"),
        (layer(1.0, rivals={"GD++": None, "Newton": Rival("Newton", 0.5, (0.9, 2.1), ())}), "like GD++"),
    ],
)
def test_the_verdict_follows_from_gates_and_exponents(given, verdict):
    assert given.verdict == verdict
