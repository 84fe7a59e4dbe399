import torch

from mesascope.models.constructions.residual_stream import ResidualStream

STREAM = ResidualStream(a=2, b=2, c=1)
H = torch.arange(1.0, 6.0, dtype=torch.float64)
TURN = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)


def test_slots_stand_side_by_side_in_the_order_they_are_named():
    assert STREAM.slots == {"a": slice(0, 2), "b": slice(2, 4), "c": slice(4, 5)} and STREAM.d_model == 5


def test_copying_adds_one_slot_to_another_on_rows():
    assert (H @ STREAM.copy("a", to="b")).tolist() == [0, 0, 1, 2, 0]
    assert (H @ STREAM.copy("b", to="b")).tolist() == [0, 0, 3, 4, 0]
    assert (H @ STREAM.copy("a", to="b", by=TURN)).tolist() == [0, 0, -2, 1, 0]
    assert (H @ STREAM.copy("a", to="c", by=torch.tensor([[1.0], [10.0]]))).tolist() == [0, 0, 0, 0, 21]


def test_matching_scores_a_querys_slot_against_a_keys():
    key = torch.tensor([10.0, 20, 30, 40, 50], dtype=torch.float64)
    assert H @ STREAM.match("a", "b") @ key == 1 * 30 + 2 * 40
    assert H @ STREAM.match("a", "b", by=TURN) @ key == -2 * 30 + 1 * 40


def test_embedding_fills_slots_from_the_parts_of_a_token_and_reading_empties_one():
    tokens = ResidualStream(x=2, y=1)
    token = torch.tensor([7.0, 8.0, 9.0], dtype=torch.float64)
    assert (token @ STREAM.embed(tokens, a="x", b="x", c="y")).tolist() == [7, 8, 7, 8, 9]
    assert (token @ STREAM.embed(tokens, b="x")).tolist() == [0, 0, 7, 8, 0]
    assert (H @ STREAM.read("b")).tolist() == [3, 4]


def test_maps_are_float64():
    maps = [STREAM.copy("a", to="b"), STREAM.match("a", "b"), STREAM.read("a"), STREAM.embed(STREAM, a="a")]
    assert all(each.dtype == torch.float64 for each in maps)
