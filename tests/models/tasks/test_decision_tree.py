import pytest
import torch

from mesascope.models.learners import GreedyTree
from mesascope.models.tasks import DecisionTree


def function_of(depth, n_dims=4, n_prompts=50):
    task = DecisionTree(depth=depth, n_dims=n_dims)
    return task.function(n_prompts, torch.Generator().manual_seed(0)).evaluate


def every_orthant(n_prompts, n_dims):
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * n_dims)
    return signs.expand(n_prompts, -1, -1)


def test_it_is_the_tree_walked_by_hand():
    evaluate = function_of(3)
    rng = torch.Generator().manual_seed(0)
    asked = torch.randint(4, (50, 7), generator=rng)
    values = torch.randn(50, 8, generator=rng, dtype=torch.float64)
    xs = torch.randn(50, 6, 4, dtype=torch.float64)
    ys = evaluate(xs)
    for b in range(50):
        for i in range(6):
            left, leaves, node = 0, 8, 0  # the interval of leaves that are still possible
            while leaves > 1:
                leaves //= 2
                positive = bool(xs[b, i, asked[b, node]] > 0)
                left, node = left + leaves * positive, 2 * node + 1 + positive
            assert ys[b, i] == values[b, left]


def test_it_is_constant_in_every_orthant_and_nothing_but_signs_matters():
    evaluate = function_of(4)
    orthants = every_orthant(50, 4)
    sizes = torch.rand(50, 16, 4, dtype=torch.float64) + 0.01
    assert torch.equal(evaluate(orthants * sizes), evaluate(orthants))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_it_has_at_most_as_many_values_as_leaves_and_asks_at_most_depth_questions(depth):
    ys = function_of(depth, n_dims=6)(every_orthant(50, 6))
    n_values = torch.tensor([len(y.unique()) for y in ys])
    assert n_values.max() <= 2**depth and n_values.max() > 2 ** (depth - 1)
    # Flipping one coordinate changes y in at most 2^depth − 1 of the cells; with one question, for one coordinate only.
    if depth == 1:
        signs = every_orthant(1, 6)[0]
        for y in ys:
            changes = [bool((y[(signs[:, j] > 0)] != y[(signs[:, j] < 0)]).any()) for j in range(6)]
            assert sum(changes) == 1


def test_every_coordinate_is_asked_and_every_leaf_has_a_number_of_its_own():
    ys = function_of(1, n_dims=3, n_prompts=600)(every_orthant(600, 3))
    assert len(ys.flatten().unique()) == 1200
    asked = torch.stack([ys[:, 0] != ys[:, 4], ys[:, 0] != ys[:, 2], ys[:, 0] != ys[:, 1]]).double().mean(1)
    assert (asked - 1 / 3).abs().max() < 4 * (2 / 9 / 600) ** 0.5


def test_the_reference_sees_signs_first_because_that_is_better():
    task = DecisionTree(n_dims=5, depth=3, n_points=40)
    assert task.references()[0] == GreedyTree(3, on_signs=True)
    prompts = task.sample(8, seed=0, dtype=torch.float64)
    losses = [(learner.predict(prompts) - prompts.ys)[:, 20:].square().mean() for learner in task.references()]
    assert losses[0] < losses[1]


@pytest.mark.parametrize("depth", [0, 17])
def test_a_tree_without_questions_or_with_too_many_is_refused(depth):
    with pytest.raises(ValueError, match="depth"):
        DecisionTree(depth=depth)
