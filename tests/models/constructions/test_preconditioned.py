import pytest
import torch

from mesascope.models import (
    LinearRegression,
    MesascopeError,
    PreconditionedGradientDescent,
    gradient_descent,
    optimal_preconditioned_step,
    optimal_preconditioner,
    preconditioned_gradient_descent,
)
from mesascope.models.inputs import Gaussian, Uniform
from mesascope.models.spectra import Geometric

D = torch.float64


def matrices_of(n, n_dims, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return 0.3 * torch.eye(n_dims, dtype=D) + 0.05 * torch.randn(n, n_dims, n_dims, generator=rng, dtype=D)


@pytest.mark.parametrize("n_points", [2, 11, 41])
@pytest.mark.parametrize("n_steps", [1, 3])
def test_it_is_its_learner_also_where_the_matrix_is_not_symmetric(n_points, n_steps):
    A = matrices_of(1, 20)[0]
    prompts = LinearRegression(n_dims=20, n_points=n_points).sample(50, seed=0, dtype=D)
    model = preconditioned_gradient_descent(n_points, [A] * n_steps, dtype=D)
    expected = PreconditionedGradientDescent.of(n_steps, A).predict(prompts)[:, -1:]
    torch.testing.assert_close(model(prompts.xs, prompts.ys), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("start", ["zero", "w0"])
@pytest.mark.parametrize("d_out", [1, 2])
def test_each_step_may_have_a_matrix_of_its_own_from_any_start_and_for_several_outputs(start, d_out):
    rng = torch.Generator().manual_seed(1)
    xs, Y = torch.randn(10, 9, 4, generator=rng, dtype=D), torch.randn(10, 9, d_out, generator=rng, dtype=D)
    w0, matrices = torch.randn(d_out, 4, generator=rng, dtype=D), matrices_of(3, 4)
    given = (w0 if d_out > 1 else w0[0]) if start == "w0" else None
    model = preconditioned_gradient_descent(9, list(matrices), w0=given, d_out=d_out, dtype=D)
    W = (w0 if start == "w0" else torch.zeros_like(w0)).expand(10, -1, -1)
    for A in matrices:
        left = torch.einsum("bjd,bkd->bjk", xs[:, :-1], W) - Y[:, :-1]
        W = W - torch.einsum("de,bje,bjk->bkd", A, xs[:, :-1], left) / 8
    expected = torch.einsum("bkd,bd->bk", W, xs[:, -1])
    preds = model(xs, Y if d_out > 1 else Y[..., 0]).reshape(10, d_out)
    torch.testing.assert_close(preds, expected, atol=1e-12, rtol=1e-12)


def test_with_a_multiple_of_the_identity_it_is_gradient_descent():
    prompts = LinearRegression(n_dims=3, n_points=7).sample(9, seed=0, dtype=D)
    plain, same = gradient_descent(3, 7, 0.4, dtype=D), preconditioned_gradient_descent(7, 0.4 * torch.eye(3), dtype=D)
    torch.testing.assert_close(same(prompts.xs, prompts.ys), plain(prompts.xs, prompts.ys), atol=1e-7, rtol=1e-6)


def test_the_optimal_step_is_the_best_of_its_neighbours():
    """20,000 prompts: the loss of the closed form is below that of every matrix a little off it."""
    task = LinearRegression(n_dims=3, n_points=9, inputs=Gaussian(spectrum=Geometric(kappa=8), basis="fixed"))
    prompts, A = task.sample(20_000, seed=0, dtype=D), optimal_preconditioner(task)

    def loss(model):
        return (model(prompts.xs, prompts.ys)[:, 0] - prompts.ys[:, -1]).square().mean().item()

    best = loss(optimal_preconditioned_step(task, dtype=D))
    for direction in matrices_of(6, 3, seed=2) - 0.3 * torch.eye(3):
        for sign in (1, -1):
            off = A + sign * 0.15 * A.norm() * direction / direction.norm()
            assert loss(preconditioned_gradient_descent(9, off, dtype=D)) > best


@pytest.mark.parametrize(
    "matrices, complaint",
    [
        ([], r"shapes \[\]"),
        ([torch.eye(2), torch.eye(3)], r"shapes \[\(2, 2\), \(3, 3\)\]: expected square matrices of one size"),
        ([torch.ones(2, 3)], r"shapes \[\(2, 3\)\]"),
        (torch.zeros(0, 0), r"shapes \[\(0, 0\)\]"),
        (torch.full((2, 2), torch.inf), "all finite"),
    ],
)
def test_matrices_that_precondition_nothing_are_refused(matrices, complaint, unchecked_shapes):
    with pytest.raises(MesascopeError, match=complaint):
        preconditioned_gradient_descent(5, matrices)


def test_other_impossible_arguments_are_refused(unchecked_shapes):
    with pytest.raises(MesascopeError, match="n_points=1 leaves no context"):
        preconditioned_gradient_descent(1, torch.eye(2))
    with pytest.raises(MesascopeError, match="d_out=0: expected at least 1"):
        preconditioned_gradient_descent(5, torch.eye(2), d_out=0)
    with pytest.raises(MesascopeError, match=r"w0 of shape \(3,\): expected \(2,\)"):
        preconditioned_gradient_descent(5, torch.eye(2), w0=torch.ones(3))


@pytest.mark.parametrize("inputs", [Uniform(), Gaussian(spectrum=Geometric(kappa=3))], ids=repr)
def test_a_task_without_closed_form_has_no_optimal_step(inputs):
    with pytest.raises(ValueError, match="no closed form|another covariance for every prompt"):
        optimal_preconditioned_step(LinearRegression(inputs=inputs))
