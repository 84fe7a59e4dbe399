import pytest
import torch

from mesascope.models.layouts import LAYOUTS

XS = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
YS = torch.tensor([[10.0, 20.0, 30.0]])


def test_interleaved_alternates_x_and_y_tokens():
    expected = torch.tensor([[[1.0, 2.0], [10, 0], [3, 4], [20, 0], [5, 6], [30, 0]]])
    assert torch.equal(LAYOUTS["interleaved"].tokens(XS, YS), expected)


def test_joint_appends_y_and_hides_that_of_the_query():
    expected = torch.tensor([[[1.0, 2.0, 10], [3, 4, 20], [5, 6, 0]]])
    assert torch.equal(LAYOUTS["joint"].tokens(XS, YS), expected)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("n_points", [1, 4])
@pytest.mark.parametrize("n_dims", [1, 3])
def test_tokens_have_the_announced_size(layout, n_points, n_dims):
    tokens = layout.tokens(torch.randn(2, n_points, n_dims), torch.randn(2, n_points))
    assert tokens.shape == (2, layout.n_tokens(n_points), layout.d_token(n_dims))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_the_token_at_a_read_position_is_that_points_x(layout):
    xs, ys = torch.randn(2, 5, 3), torch.randn(2, 5)
    read = layout.tokens(xs, ys)[:, layout.read_positions(5)]
    assert read.shape[1] == len(layout.read_points(5))
    assert torch.equal(read[..., :3], xs[:, layout.read_points(5)])


def test_interleaved_reads_every_point_and_joint_the_last():
    assert list(LAYOUTS["interleaved"].read_points(4)) == [0, 1, 2, 3]
    assert list(LAYOUTS["joint"].read_points(4)) == [3]
