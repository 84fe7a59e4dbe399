"""Repeated sequences and associative recall."""

import math

import pytest
import torch

from mesascope.models.learners import PrefixMatching
from mesascope.models.tasks import AssociativeRecall, RepeatedSequence

RECALL = AssociativeRecall(n_keys=6, n_values=3, n_dims=9, n_pairs=4, n_points=15)


def tokens_of(prompts):
    """Every token of the prompts, the last y included."""
    return torch.cat([prompts.xs.argmax(-1), prompts.ys[:, -1:].long()], dim=1)


@pytest.mark.parametrize("task", [RepeatedSequence(n_points=20), RECALL], ids=repr)
def test_points_are_one_hot_and_y_is_the_next_point(task):
    prompts = task.sample(100, seed=0, dtype=torch.float64)
    assert ((prompts.xs == 0) | (prompts.xs == 1)).all() and (prompts.xs.sum(-1) == 1).all()
    assert torch.equal(prompts.xs.argmax(-1)[:, 1:], prompts.ys[:, :-1].long())
    assert 0 <= prompts.ys.min() and prompts.ys.max() < task.n_dims


@pytest.mark.parametrize("period, n_points", [(8, 16), (5, 23), (1, 4), (7, 8)])
def test_a_sequence_has_its_period_and_tokens_are_uniform(period, n_points):
    task = RepeatedSequence(n_dims=5, period=period, n_points=n_points)
    tokens = tokens_of(task.sample(2000, seed=0))
    assert tokens.shape == (2000, n_points + 1)
    assert torch.equal(tokens[:, period:], tokens[:, : n_points + 1 - period])
    counts = torch.bincount(tokens[:, :period].flatten(), minlength=5) / (2000 * period)
    assert (counts - 1 / 5).abs().max() < 4 * (4 / 25 / (2000 * period)) ** 0.5
    assert list(task.scored(n_points)) == list(range(period, n_points)) and task.late == period


def test_each_prompt_may_have_a_period_of_its_own():
    task = RepeatedSequence(n_dims=50, min_period=3, period=6, n_points=20)
    tokens = tokens_of(task.sample(1200, seed=0))
    repeats = torch.stack([(tokens[:, p:] == tokens[:, :-p]).all(1) for p in range(3, 7)], dim=1)  # or a multiple
    assert repeats.any(1).all()
    counts = torch.bincount(repeats.int().argmax(1), minlength=4) / 1200
    assert (counts - 1 / 4).abs().max() < 5 * (3 / 16 / 1200) ** 0.5
    assert list(task.scored(20)) == list(range(6, 20))


def test_in_a_sequence_of_distinct_tokens_prefix_matching_is_right_from_the_first_repetition_on():
    task = RepeatedSequence(n_dims=1000, period=4, n_points=12)
    prompts = task.sample(50, seed=0, dtype=torch.float64)
    distinct = torch.tensor([len(set(row.tolist())) == 4 for row in prompts.xs[:, :4].argmax(-1)])
    right = PrefixMatching().predict(prompts).argmax(-1) == prompts.ys
    assert distinct.sum() > 40 and right[distinct][:, 4:].all()
    assert right[:, :3].double().mean() < 0.05  # the first token is known to no one


def test_recall_is_pairs_and_then_the_same_pairs_in_an_order_of_their_own():
    tokens = tokens_of(RECALL.sample(500, seed=0)).unflatten(1, (8, 2))
    keys, values = tokens.unbind(-1)
    assert (keys < 6).all() and (values >= 6).all() and values.max() == 8
    moved = 0
    for prompt in range(500):
        first = dict(zip(keys[prompt, :4].tolist(), values[prompt, :4].tolist(), strict=True))
        again = dict(zip(keys[prompt, 4:].tolist(), values[prompt, 4:].tolist(), strict=True))
        assert len(first) == 4 and first == again
        moved += not torch.equal(keys[prompt, :4], keys[prompt, 4:])
    assert abs(moved / 500 - 23 / 24) < 4 * (23 / 24**2 / 500) ** 0.5  # 1 of 4! orders is the same one


def test_every_key_and_value_is_equally_likely():
    keys, values = tokens_of(RECALL.sample(3000, seed=0)).unflatten(1, (8, 2))[:, :4].unbind(-1)
    seen = torch.bincount(keys.flatten(), minlength=6) / 3000
    assert (seen - 4 / 6).abs().max() < 4 * (4 / 6 * 2 / 6 / 3000) ** 0.5
    told = torch.bincount(values.flatten() - 6, minlength=3) / 12_000
    assert (told - 1 / 3).abs().max() < 4 * (2 / 9 / 12_000) ** 0.5


def test_recall_scores_the_keys_of_the_second_half_where_prefix_matching_is_right():
    assert list(RECALL.scored(15)) == [8, 10, 12, 14] and RECALL.late == 8
    assert list(RECALL.scored(11)) == [8, 10]
    prompts = RECALL.sample(100, seed=0, dtype=torch.float64)
    right = (PrefixMatching().predict(prompts).argmax(-1) == prompts.ys).double().mean(0)
    assert (right[list(RECALL.scored(15))] == 1).all()
    assert right[9] < 0.6 and right[11] < 0.6  # at a value: which key comes next is not known


def test_a_shorter_recall_is_the_beginning_of_a_longer_one():
    short = RECALL.model_copy(update={"n_points": 9}).sample(20, seed=0)
    assert torch.equal(short.xs, RECALL.sample(20, seed=0).xs[:, :9])


def test_the_loss_is_cross_entropy_and_logits_have_no_level():
    task = RepeatedSequence(n_dims=3)
    logits = torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]], dtype=torch.float64)
    ys = torch.tensor([2.0, 0.0], dtype=torch.float64)
    normaliser = math.log(1 + math.e + math.e**2)
    expected = torch.tensor([normaliser - 2, math.log(3)], dtype=torch.float64)
    torch.testing.assert_close(task.loss(logits, ys), expected)
    torch.testing.assert_close(task.loss(logits + 100, ys), expected)
    assert task.d_out == 3


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"period": 16}, "period=16 but n_points=16: nothing repeats; expected period < n_points"),
        ({"period": 0}, "period"),
        ({"period": 3, "min_period": 4}, "min_period=4 but period=3; expected min_period <= period"),
    ],
)
def test_a_sequence_that_does_not_repeat_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        RepeatedSequence(**fields)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"n_dims": 17}, "n_dims=17 but n_keys=8 and n_values=8; expected n_dims=16, their sum"),
        ({"n_pairs": 9, "n_points": 35}, "n_pairs=9 but n_keys=8; expected n_pairs <= n_keys"),
        ({"n_points": 16}, "n_points=16 but n_pairs=4; expected n_points=15, or less but at least 9"),
        ({"n_points": 8}, "n_points=8 but n_pairs=4"),
    ],
)
def test_a_recall_that_does_not_fit_together_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        AssociativeRecall(**fields)
