import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mesascope.models import AssociativeRecall, MesascopeError, PrefixMatching, Prompts, RepeatedSequence, induction
from tests.models.constructions.specimens import counts

D = torch.float64
TASKS = [RepeatedSequence(n_dims=7, n_points=20, period=5), AssociativeRecall(n_keys=4, n_values=3, n_dims=7)]


@pytest.mark.parametrize("task", TASKS, ids=repr)
@pytest.mark.parametrize("eta", [1.0, 0.3])
def test_the_logits_are_a_gradient_step_on_the_pairs_of_neighbours(task, eta):
    prompts, model = task.sample(30, seed=0, dtype=D), induction(task.n_dims, task.n_points, eta, dtype=D)
    assert torch.equal(model(prompts.xs, prompts.ys), eta * counts(prompts))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_any_sequence_is_counted_exactly_also_with_repeated_tokens_and_shorter_than_announced(tokens):
    xs = torch.nn.functional.one_hot(torch.tensor([tokens]), 4).double()
    prompts = Prompts(xs, torch.zeros(1, len(tokens), dtype=D))
    assert torch.equal(induction(4, 9, dtype=D)(prompts.xs, prompts.ys), counts(prompts))


@pytest.mark.parametrize("task", TASKS, ids=repr)
@pytest.mark.parametrize("smoothing", [0.01, 1.0])
def test_counts_with_smoothing_are_prefix_matching(task, smoothing):
    prompts, model = task.sample(30, seed=0, dtype=D), induction(task.n_dims, task.n_points, 2.0, dtype=D)
    logits = torch.log(model(prompts.xs, prompts.ys) / 2.0 + smoothing)
    expected = PrefixMatching(1, smoothing).predict(prompts)
    torch.testing.assert_close(logits.log_softmax(-1), expected, atol=1e-12, rtol=1e-12)


def test_each_head_attends_where_it_should():
    prompts, model = TASKS[0].sample(30, seed=0, dtype=D), induction(7, 20, dtype=D)
    _, cache = model.run_with_cache(prompts.xs, prompts.ys)
    before = torch.ones(19, dtype=D).diag(-1)
    assert (cache["pattern", 0][:, 0] == before).all()  # the first token attends to nobody
    tokens = prompts.xs.argmax(-1)
    followed = tokens[:, :, None] == torch.nn.functional.pad(tokens, (1, -1), value=-1)[:, None, :]
    assert torch.equal(cache["pattern", 1][:, 0], followed.double().tril())


@pytest.mark.parametrize(
    "build, complaint",
    [
        (lambda: induction(0, 5), "n_dims=0: expected at least 1"),
        (lambda: induction(3, 0), "n_points=0: expected at least 1"),
        (lambda: induction(3, 5, float("inf")), r"eta=\(inf,\): expected finite numbers"),
    ],
)
def test_impossible_arguments_are_refused(build, complaint):
    with pytest.raises(MesascopeError, match=complaint):
        build()


def test_a_sequence_of_one_token_predicts_nothing():
    model = induction(3, 1, dtype=D)
    assert (model(torch.eye(3, dtype=D)[:, None], torch.zeros(3, 1, dtype=D)) == 0).all()
