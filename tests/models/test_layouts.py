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


def test_separate_alternates_x_and_y_tokens_each_in_its_own_slots():
    expected = torch.tensor([[[1.0, 2.0, 0], [0, 0, 10], [3, 4, 0], [0, 0, 20], [5, 6, 0]]])
    assert torch.equal(LAYOUTS["separate"].tokens(XS, YS), expected)
    assert LAYOUTS["separate"].read_positions(3) == slice(4, 5)


def test_sequence_has_the_points_as_tokens_and_y_never_among_them():
    assert torch.equal(LAYOUTS["sequence"].tokens(XS, YS), XS)
    assert torch.equal(LAYOUTS["sequence"].tokens(XS, torch.full_like(YS, torch.nan)), XS)


@pytest.mark.parametrize("layout", [LAYOUTS["joint"], LAYOUTS["separate"]], ids=["joint", "separate"])
def test_the_tokens_of_the_layouts_that_read_the_query_alone_do_not_hold_its_y(layout):
    hidden = YS.clone()
    hidden[:, -1] = torch.nan
    assert torch.equal(layout.tokens(XS, hidden), layout.tokens(XS, YS))


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


def test_interleaved_and_sequence_read_every_point_and_the_others_the_last():
    read = {name: list(layout.read_points(4)) for name, layout in LAYOUTS.items()}
    assert read == {"interleaved": [0, 1, 2, 3], "sequence": [0, 1, 2, 3], "joint": [3], "separate": [3]}
