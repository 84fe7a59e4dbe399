import torch

from mesascope.models.streams import generator


def draw(*labels):
    return torch.randn(8, generator=generator(*labels)).tolist()


def test_the_same_labels_give_the_same_numbers_whatever_was_drawn_before():
    first = draw(0, "eval", 3)
    draw(0, "other")
    torch.manual_seed(123)
    assert draw(0, "eval", 3) == first


def test_every_label_matters():
    draws = [draw(0, "eval", 3), draw(1, "eval", 3), draw(0, "train", 3), draw(0, "eval", 4), draw(0, "eval")]
    assert len({tuple(numbers) for numbers in draws}) == len(draws)


def test_a_device_by_name_or_object_is_the_same_device():
    named, given = generator(5, "x", device="cpu"), generator(5, "x", device=torch.device("cpu"))
    assert named.initial_seed() == given.initial_seed()
