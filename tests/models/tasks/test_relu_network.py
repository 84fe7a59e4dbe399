import pytest
import torch

from mesascope.models.learners import TwoLayerNet
from mesascope.models.tasks import ReluNetwork


def test_it_is_the_network_of_its_formula():
    task = ReluNetwork(n_dims=3, width=7, w_std=2.0)
    xs = torch.randn(4, 5, 3, dtype=torch.float64)
    ys = task.function(4, torch.Generator().manual_seed(0)).evaluate(xs)
    rng = torch.Generator().manual_seed(0)
    W1 = torch.randn(4, 3, 7, generator=rng, dtype=torch.float64)
    W2 = torch.randn(4, 7, generator=rng, dtype=torch.float64)
    for b in range(4):
        for i in range(5):
            hidden = [max(0.0, sum((xs[b, i, k] * W1[b, k, j]).item() for k in range(3))) for j in range(7)]
            by_hand = 2 * (2 / 7) ** 0.5 * sum(h * W2[b, j].item() for j, h in enumerate(hidden))
            assert ys[b, i].item() == pytest.approx(by_hand)


def test_half_of_its_variance_is_linear_and_half_is_even():
    task = ReluNetwork(width=50)
    xs = torch.randn(4000, 1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    function = task.function(4000, torch.Generator().manual_seed(0))
    there, back = function.evaluate(xs), function.evaluate(-xs)
    for part in ((there - back) / 2, (there + back) / 2):
        assert abs(part.square().mean() - task.null_loss / 2) < 4 * part.square().std() / 4000**0.5


def test_it_is_homogeneous():
    function = ReluNetwork().function(3, torch.Generator().manual_seed(0))
    xs = torch.randn(3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(function.evaluate(2.5 * xs), 2.5 * function.evaluate(xs))


def test_the_reference_has_its_width():
    assert ReluNetwork(width=30).references()[0] == TwoLayerNet(30)
    with pytest.raises(ValueError, match="width"):
        ReluNetwork(width=0)
