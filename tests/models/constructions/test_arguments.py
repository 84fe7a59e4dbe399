import pytest
import torch

from mesascope.models import MesascopeError
from mesascope.models.constructions.arguments import at_least, context_points, per_step, starting_weights


def test_a_size_that_is_too_small_is_named():
    at_least(1, n_dims=1, n_points=5)
    with pytest.raises(MesascopeError, match="^n_points=0: expected at least 1$"):
        at_least(1, n_dims=1, n_points=0)


def test_a_prompt_needs_a_point_besides_the_query():
    assert context_points(2) == 1
    with pytest.raises(MesascopeError, match="n_points=1 leaves no context; expected at least 2"):
        context_points(1)


def test_one_number_is_one_step():
    assert per_step("etas", 0.5) == (0.5,) and per_step("etas", [0.5, -1.0]) == (0.5, -1.0)


@pytest.mark.parametrize("values", [[], float("nan"), [1.0, float("inf")]])
def test_no_step_or_one_that_is_not_finite_is_refused(values):
    with pytest.raises(MesascopeError, match=r"^etas=\(.*\): expected finite numbers, one for each step$"):
        per_step("etas", values)


def test_starting_weights_have_a_row_for_each_output():
    assert starting_weights(torch.ones(3), 3, 1).shape == (1, 3)
    assert starting_weights(torch.ones(2, 3), 3, 2).dtype == torch.float64


@pytest.mark.parametrize(
    "w0, d_out, complaint",
    [
        (torch.ones(4), 1, r"w0 of shape \(4,\): expected \(3,\)"),
        (torch.ones(1, 3), 1, r"w0 of shape \(1, 3\): expected \(3,\)"),
        (torch.ones(3), 2, r"w0 of shape \(3,\): expected \(2, 3\)"),
        (torch.full((3,), torch.nan), 1, "all finite"),
    ],
)
def test_other_starting_weights_are_refused(w0, d_out, complaint):
    with pytest.raises(MesascopeError, match=complaint):
        starting_weights(w0, 3, d_out)
