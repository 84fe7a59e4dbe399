import torch

from mesascope.models import LinearRegression
from mesascope.models.inputs import Uniform
from mesascope.models.training.small_form import context_grams
from mesascope.models.training.tail import Bank, Contexts, largest

TASK = LinearRegression(n_dims=3, n_points=9, inputs=Uniform())


def pool(index, n_prompts=5000):
    prompts = TASK.sample(n_prompts, seed=0, stream=f"pool {index}", dtype=torch.float64)
    return context_grams(prompts), prompts.w


def rng(index=0):
    return torch.Generator().manual_seed(index)


def test_the_size_of_a_context_is_close_to_its_largest_eigenvalue():
    grams, _ = pool(0, 200)
    exact = torch.linalg.eigvalsh(grams[:, :-1, :-1])[:, -1]
    assert (largest(grams) >= exact).all() and (largest(grams) <= 3 ** (1 / 8) * exact + 1e-12).all()


def test_what_is_drawn_represents_all_that_was_seen_for_any_loss():
    """Weighted means of functions that live in the tail, in the bulk and everywhere; five pools of 5000."""
    bank, pools = Bank.empty(4, torch.device("cpu")), [pool(index) for index in range(5)]
    for index, (grams, w) in enumerate(pools):
        drawn = bank.draw(grams, w, rng(index))
    everything = torch.cat([grams for grams, _ in pools])
    for power in (0, 1, 16):
        expected = largest(everything) ** power
        weighted = (largest(drawn.grams) ** power * drawn.importance).sum() / len(drawn)
        # the bulk is that of the last pool alone: four of its standard errors
        assert abs(weighted / expected.mean() - 1) < 4 * expected.std() / expected.mean() / 3000**0.5 + 0.02, power


def test_large_contexts_are_drawn_far_more_often_than_they_occur():
    grams, w = pool(0, 20_000)
    drawn = Bank.empty(4, torch.device("cpu")).draw(grams, w, rng())
    threshold = largest(grams).quantile(0.99)
    share = (largest(drawn.grams) > threshold).double().mean()
    assert len(drawn) < 8000 and share > 0.03  # 1% of the pool is above it


def test_the_bank_keeps_the_largest_of_all_pools_and_counts_each_once():
    bank, pools = Bank.empty(4, torch.device("cpu")), [pool(index) for index in range(3)]
    for index, (grams, w) in enumerate(pools):
        drawn = bank.draw(grams, w, rng(index))
    best = torch.cat([largest(grams) for grams, _ in pools]).sort(descending=True).values[:50]
    torch.testing.assert_close(largest(bank.grams), best)
    assert bank.n_seen == 15_000
    torch.testing.assert_close(drawn.importance[:50], torch.full((50,), len(drawn) / 15_000).double())


def test_contexts_stay_beside_their_weights():
    grams, w = pool(0)
    drawn = Bank.empty(4, torch.device("cpu")).draw(grams, w, rng())
    torch.testing.assert_close(torch.einsum("bij,bj->bi", drawn.grams[:, :-1, :-1], drawn.w), drawn.grams[:, :-1, -1])


def test_plain_contexts_count_alike():
    grams, w = pool(0, 10)
    plain = Contexts.plain(grams, w)
    assert torch.equal(plain.importance, torch.ones(10).double()) and len(plain[:3]) == 3
