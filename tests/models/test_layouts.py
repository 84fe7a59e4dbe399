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


def test_scratch_has_a_unit_vector_for_each_dimension_and_then_joint_tokens_with_room_for_one():
    units = [[0.0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]
    points = [[1.0, 2, 0, 0, 10], [3, 4, 0, 0, 20], [5, 6, 0, 0, 0]]
    assert torch.equal(LAYOUTS["scratch"].tokens(XS, YS), torch.tensor([units + points]))


@pytest.mark.parametrize("name", ["joint", "separate", "scratch"])
@pytest.mark.parametrize("d_y", [1, 3])
def test_several_ys_stand_at_the_end_of_a_token_each_as_if_it_were_alone(name, d_y):
    layout, xs, ys = LAYOUTS[name], torch.randn(2, 4, 3), torch.randn(2, 4, d_y)
    tokens = layout.tokens(xs, ys)
    assert tokens.shape == (2, layout.n_tokens(4, 3), layout.d_token(3, d_y)) and layout.has_y_slots
    for index in range(d_y):
        alone = torch.cat([tokens[..., : tokens.shape[-1] - d_y], tokens[..., index - d_y, None]], dim=-1)
        assert torch.equal(alone, layout.tokens(xs, ys[..., index]))


def test_layouts_without_slots_for_y_are_as_wide_as_x_however_many_ys_there_are():
    assert [name for name, layout in LAYOUTS.items() if not layout.has_y_slots] == ["interleaved", "sequence"]
    assert all(LAYOUTS[name].d_token(4, d_y) == 4 for name in ("interleaved", "sequence") for d_y in (1, 3))
    ys = torch.stack([YS, -YS], dim=-1)
    expected = torch.tensor([[[1.0, 2.0], [10, -10], [3, 4], [20, -20], [5, 6], [30, -30]]])
    assert torch.equal(LAYOUTS["interleaved"].tokens(XS, ys), expected)


@pytest.mark.parametrize("name", ["joint", "separate", "scratch"])
def test_the_tokens_of_the_layouts_that_read_the_query_alone_do_not_hold_its_y(name):
    layout = LAYOUTS[name]
    hidden = YS.clone()
    hidden[:, -1] = torch.nan
    assert torch.equal(layout.tokens(XS, hidden), layout.tokens(XS, YS))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("n_points", [1, 4])
@pytest.mark.parametrize("n_dims", [1, 3])
def test_tokens_have_the_announced_size(layout, n_points, n_dims):
    tokens = layout.tokens(torch.randn(2, n_points, n_dims), torch.randn(2, n_points))
    assert tokens.shape == (2, layout.n_tokens(n_points, n_dims), layout.d_token(n_dims))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_the_token_at_a_read_position_is_that_points_x(layout):
    xs, ys = torch.randn(2, 5, 3), torch.randn(2, 5)
    read = layout.tokens(xs, ys)[:, layout.read_positions(5)]
    assert read.shape[1] == len(layout.read_points(5))
    assert torch.equal(read[..., :3], xs[:, layout.read_points(5)])


def test_interleaved_and_sequence_read_every_point_and_the_others_the_last():
    read = {name: list(layout.read_points(4)) for name, layout in LAYOUTS.items()}
    every, last = [0, 1, 2, 3], [3]
    assert read == {"interleaved": every, "sequence": every, "joint": last, "separate": last, "scratch": last}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_place_of_a_token_says_which_of_the_prompts_numbers_change_it(layout):
    xs, ys = torch.randn(1, 4, 3), torch.randn(1, 4)
    tokens = layout.tokens(xs, ys)[0]
    places = layout.places(4, 3)
    assert len(places) == len(tokens) == layout.n_tokens(4, 3)
    for point in range(4):
        at = torch.arange(4) == point
        for kind, changed in (
            ("x", layout.tokens(xs + at[:, None], ys)[0]),
            ("y", layout.tokens(xs, ys + at)[0]),
        ):
            said = [kind in place.holds and place.number == point and place.holds != "unit" for place in places]
            assert (changed != tokens).any(1).tolist() == said
    assert layout.read_positions(4).indices(len(places))[0] == min(
        at for at, place in enumerate(places) if "x" in place.holds and place.number in layout.read_points(4)
    )
