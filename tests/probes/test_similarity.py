import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mesascope.models import LinearRegression, Newton
from mesascope.probes import similarity_of_errors


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_equals_a_loop_over_prompts():
    a, b, ys = draws(6, 4), draws(6, 4, seed=1), draws(6, 4, seed=2)
    for i, found in enumerate(similarity_of_errors(a, b, ys).tolist()):
        errors_a = [float(a[i, t] - ys[i, t]) for t in range(4)]
        errors_b = [float(b[i, t] - ys[i, t]) for t in range(4)]
        product = math.fsum(x * y for x, y in zip(errors_a, errors_b, strict=True))
        assert found == pytest.approx(product / math.hypot(*errors_a) / math.hypot(*errors_b), rel=1e-12)


@given(st.integers(0, 1000), st.integers(1, 8), st.floats(1e-6, 1e6))
def test_it_is_symmetric_in_range_and_blind_to_scale(seed, n_read, scale):
    a, b, ys = draws(3, 5, n_read, seed=seed)
    found = similarity_of_errors(a, b, ys)
    assert (found.abs() <= 1).all()
    assert torch.equal(found, similarity_of_errors(b, a, ys))
    torch.testing.assert_close(similarity_of_errors(scale * a, scale * b, scale * ys), found)
    # The size of one predictor's errors does not matter, only their direction (above rounding, which counts as exact).
    shrunk = ys + max(scale, 1e-3) * (a - ys)
    torch.testing.assert_close(similarity_of_errors(shrunk, b, ys), found, atol=1e-9, rtol=1e-9)


def test_equal_predictions_are_similar_and_opposite_errors_are_not():
    a, ys = draws(5, 4), draws(5, 4, seed=1)
    torch.testing.assert_close(similarity_of_errors(a, a, ys), torch.ones(5).double())
    torch.testing.assert_close(similarity_of_errors(a, 2 * ys - a, ys), -torch.ones(5).double())


def test_exact_predictors_are_similar_to_each_other_only():
    a, ys = draws(5, 4), draws(5, 4, seed=1)
    assert (similarity_of_errors(ys, ys, ys) == 1).all()
    assert (similarity_of_errors(a, ys, ys) == 0).all()
    assert (similarity_of_errors(ys, a, ys) == 0).all()


@pytest.mark.parametrize("size", [1e200, float("inf"), float("nan")])
def test_a_diverged_predictor_is_similar_to_none(size):
    # 1e200 is finite but its norm overflows.
    a, ys = draws(5, 4), draws(5, 4, seed=1)
    assert (similarity_of_errors(torch.full_like(a, size), a, ys) == 0).all()


def test_leading_axes_broadcast():
    a, rivals, ys = draws(5, 4), draws(3, 5, 4, seed=1), draws(5, 4, seed=2)
    found = similarity_of_errors(a, rivals, ys)
    assert found.shape == (3, 5)
    for row, rival in zip(found, rivals, strict=True):
        torch.testing.assert_close(row, similarity_of_errors(a, rival, ys))
    grid = similarity_of_errors(rivals[:, None], rivals, ys)
    torch.testing.assert_close(grid.diagonal().T, torch.ones(3, 5).double())


def test_zero_predictor_is_as_similar_to_newton_as_published():
    # Methods, section 14: d=20, n=41, α=2/F, the empty prefix included; 6,000 prompts there (SE ≤ .0011), 1,500 here.
    prompts = LinearRegression(n_dims=20, n_points=41).sample(1500, seed=0, dtype=torch.float64)
    paths = torch.cat(
        [Newton(8, alpha="twice_frobenius").path(part, steps=[1, 6, 8]) for part in prompts.split(100)], dim=1
    )
    found = similarity_of_errors(torch.zeros_like(prompts.ys), paths, prompts.ys).mean(-1)
    torch.testing.assert_close(found, torch.tensor([0.920, 0.691, 0.619]).double(), atol=0.01, rtol=0)
