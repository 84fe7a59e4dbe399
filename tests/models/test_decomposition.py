import pytest
import torch

from mesascope.models import LinearRegression, Prompts
from mesascope.models.decomposition import decompose
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import LogUniform

INPUTS = Gaussian(spectrum=LogUniform(kappa=100))


def prompts_of(n_dims, n_points, n_prompts=4, **fields):
    task = LinearRegression(n_dims=n_dims, n_points=n_points, inputs=INPUTS, noise_std=0.3)
    return task.sample(n_prompts, seed=0, dtype=torch.float64)


def prefix(prompts, t):
    X, y = prompts.xs[:, :t], prompts.ys[:, :t]
    return X.mT @ X, torch.einsum("btd,bt->bd", X, y)


# d=12 has prefixes on both sides of the SVD's window, d=3 none below it, 5 points in 8 dimensions none above it.
@pytest.mark.parametrize("n_dims, n_points", [(12, 30), (3, 9), (8, 5), (1, 4), (6, 6), (5, 1)])
def test_every_prefix_is_reconstructed(n_dims, n_points):
    prompts = prompts_of(n_dims, n_points)
    d = decompose(prompts.xs, prompts.ys)
    eye = torch.eye(n_dims, dtype=torch.float64).expand(4, n_dims, n_dims)
    for t in range(n_points):
        S, b = prefix(prompts, t)
        U, eigenvalues = d.basis[:, t], d.eigenvalues[:, t]
        torch.testing.assert_close(U.mT @ U, eye, atol=1e-12, rtol=0)
        torch.testing.assert_close(U * eigenvalues[:, None] @ U.mT, S, atol=1e-11, rtol=0)
        torch.testing.assert_close(torch.einsum("bij,bj->bi", U, d.moments[:, t]), b, atol=1e-11, rtol=0)
        torch.testing.assert_close(torch.einsum("bij,bj->bi", U, d.queries[:, t]), prompts.xs[:, t])
        assert (eigenvalues.diff() >= 0).all()
        assert ((eigenvalues > 0).sum(-1) == min(t, n_dims)).all()


def test_counts_are_the_prefix_lengths():
    prompts = prompts_of(3, 5)
    assert decompose(prompts.xs, prompts.ys).counts.flatten().tolist() == [0, 1, 2, 3, 4]


def test_predictions_are_the_weights_on_the_query_for_any_multiplier():
    prompts = prompts_of(5, 8)
    d = decompose(prompts.xs, prompts.ys)
    multiplier = torch.rand_like(d.eigenvalues)
    expected = (d.weights(multiplier) * prompts.xs).sum(-1)
    torch.testing.assert_close(d.predict(multiplier), expected)


@pytest.mark.parametrize("n_dims", [5, 12])
def test_a_repeated_point_adds_no_rank(n_dims):
    prompts = prompts_of(n_dims, 2 * n_dims + 6)
    xs = prompts.xs.repeat_interleave(2, dim=1)[:, : 2 * n_dims + 6]
    eigenvalues = decompose(xs, prompts.ys).eigenvalues
    ranks = [min((t + 1) // 2, n_dims) for t in range(xs.shape[1])]
    assert (eigenvalues > 0).sum(-1).tolist() == [ranks] * 4


def test_a_later_far_larger_point_adds_no_rank_to_the_points_before_it():
    """S_t as a difference of running sums would carry ε |x_t|² into the null space of small earlier points."""
    prompts = prompts_of(12, 4)
    scale = torch.tensor([1.0, 1e3, 1e6, 1e9], dtype=torch.float64)
    eigenvalues = decompose(prompts.xs * scale[:, None], prompts.ys).eigenvalues
    assert (eigenvalues[:, 1] > 0).sum(-1).tolist() == [1] * 4


def test_prompts_that_are_all_zero_have_no_span():
    d = decompose(torch.zeros(2, 4, 3), torch.ones(2, 4))
    assert (d.eigenvalues == 0).all() and (d.moments == 0).all()


def test_float32_prompts_are_decomposed_in_float64():
    prompts = prompts_of(4, 8)
    single = decompose(prompts.xs.float(), prompts.ys.float())
    assert single.eigenvalues.dtype == torch.float64
    torch.testing.assert_close(
        single.eigenvalues, decompose(prompts.xs.float().double(), prompts.ys.float().double()).eigenvalues
    )


@pytest.mark.parametrize("n_threads", [1, 2])
def test_many_prompts_in_threads_give_what_each_gives_alone(n_threads):
    prompts = prompts_of(6, 9, n_prompts=40)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        together = decompose(prompts.xs, prompts.ys)
    finally:
        torch.set_num_threads(before)
    for index in (0, 17, 39):
        alone = Prompts(prompts.xs[index : index + 1], prompts.ys[index : index + 1]).decomposition
        torch.testing.assert_close(alone.eigenvalues[0], together.eigenvalues[index], atol=1e-11, rtol=0)
