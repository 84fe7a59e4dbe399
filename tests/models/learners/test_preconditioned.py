import math

import numpy as np
import pytest
import torch

from mesascope.models import GradientDescent, LinearRegression, QuadraticRegression, optimal_preconditioner
from mesascope.models.inputs import Gaussian, RandomQuadrants, Uniform
from mesascope.models.learners import PreconditionedGradientDescent
from mesascope.models.spectra import Geometric, HalfSubspace
from tests.models.learners.prompts import at_every_prefix, members_of, prompts_of

FIXED = LinearRegression(n_dims=4, n_points=12, inputs=Gaussian(spectrum=Geometric(kappa=20), basis="fixed"))


def matrix(n_dims=5, seed=0):
    """Neither symmetric nor diagonal."""
    rng = torch.Generator().manual_seed(seed)
    return 0.1 * torch.eye(n_dims).double() + 0.05 * torch.randn(n_dims, n_dims, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("n_steps", [0, 1, 2, 5])
def test_it_is_its_loop(n_steps):
    A = matrix()

    def learn(X, y):
        w = torch.zeros(X.shape[1], dtype=torch.float64)
        for _ in range(n_steps):
            w = w - A @ X.T @ (X @ w - y) / max(len(X), 1)
        return w

    prompts = prompts_of()
    preds = PreconditionedGradientDescent.of(n_steps, A).predict(prompts)
    torch.testing.assert_close(preds, at_every_prefix(prompts, learn), atol=1e-10, rtol=1e-9)


def test_a_multiple_of_the_identity_is_gradient_descent():
    prompts = prompts_of()
    preds = PreconditionedGradientDescent.of(4, (0.2 * torch.eye(5)).tolist()).predict(prompts)
    torch.testing.assert_close(preds, GradientDescent(4, 0.2).predict(prompts), atol=1e-7, rtol=1e-7)  # .2 of float32


def test_it_turns_with_x_only_if_its_matrix_does():
    prompts, A = prompts_of(), matrix()
    Q = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q
    turned = type(prompts)(prompts.xs @ Q, prompts.ys)
    expected = PreconditionedGradientDescent.of(3, A).predict(prompts)
    preds = PreconditionedGradientDescent.of(3, Q.T @ A @ Q).predict(turned)
    torch.testing.assert_close(preds, expected, atol=1e-10, rtol=1e-9)
    assert not torch.allclose(PreconditionedGradientDescent.of(3, A).predict(turned), expected, rtol=1e-2)


def test_one_step_with_the_optimum_is_better_than_any_gradient_step():
    prompts = FIXED.sample(4000, seed=0, dtype=torch.float64)

    def loss(learner):
        return (learner.predict(prompts) - prompts.ys)[:, -1].square().mean().item()

    best = loss(PreconditionedGradientDescent.of(1, optimal_preconditioner(FIXED)))
    assert best < 0.9 * min(loss(GradientDescent(1, eta)) for eta in (0.1, 0.2, 0.3, 0.5, 0.8))


def test_its_free_scalars_are_the_entries():
    learner = PreconditionedGradientDescent.of(2, matrix())
    np.testing.assert_array_equal(learner.parameters(), matrix().flatten().numpy())
    assert learner.strength == {"τ": pytest.approx(2 * matrix().trace().item() / 5)}
    assert learner == PreconditionedGradientDescent.of(2, matrix()) != PreconditionedGradientDescent.of(2, matrix().T)


def test_its_starts_are_plain_whitening_and_optimal_where_directions_differ():
    learners = members_of(PreconditionedGradientDescent, FIXED)
    covariance = FIXED.inputs.covariance(4)
    assert any(learner.matrix.allclose(optimal_preconditioner(FIXED)) for learner in learners)
    products = [learner.matrix @ covariance for learner in learners]
    assert any(product.allclose(product[0, 0] * torch.eye(4).double()) for product in products)
    assert [learner.n_steps for learner in learners] == 7 * [1, 2, 3]


@pytest.mark.parametrize(
    "task",
    [
        LinearRegression(n_dims=4, n_points=12),
        LinearRegression(n_dims=4, n_points=12, inputs=Uniform()),
        LinearRegression(n_dims=4, n_points=12, inputs=Gaussian(spectrum=Geometric(kappa=20))),
        LinearRegression(n_dims=4, n_points=12, inputs=RandomQuadrants()),
    ],
    ids=["isotropic", "uniform", "a basis for every prompt", "dependent points"],
)
def test_where_no_direction_differs_in_advance_it_is_left_to_gradient_descent(task):
    assert PreconditionedGradientDescent.sweeps(task) == ()


def test_other_tasks_and_singular_covariances_have_starts_too():
    wide = LinearRegression(n_dims=12, n_points=20, inputs=Gaussian(spectrum=Geometric(kappa=20), basis="axes"))
    assert {sweep.steps for sweep in PreconditionedGradientDescent.sweeps(wide)} == {(1,)}
    quadratic = QuadraticRegression(n_dims=4, n_points=12, inputs=FIXED.inputs)
    assert len(PreconditionedGradientDescent.sweeps(quadratic)) == len(PreconditionedGradientDescent.sweeps(FIXED)) - 1
    flat = LinearRegression(n_dims=4, n_points=12, inputs=Gaussian(spectrum=HalfSubspace(), basis="fixed"))
    assert all(learner.matrix.isfinite().all() for learner in members_of(PreconditionedGradientDescent, flat))
    short = FIXED.model_copy(update={"n_points": 1})
    assert len(PreconditionedGradientDescent.sweeps(short)) == len(PreconditionedGradientDescent.sweeps(quadratic))


@pytest.mark.parametrize(
    "n_steps, A, message",
    [
        (-1, [[1.0]], r"n_steps=-1.*expected n_steps >= 0 and a square matrix, all finite"),
        (1, [[1.0, 2.0]], r"a preconditioner of 1 rows of \[2\] entries: expected"),
        (1, [], r"a preconditioner of 0 rows of \[\] entries: expected"),
        (1, [[math.nan]], "all finite"),
    ],
)
def test_impossible_arguments_are_refused(n_steps, A, message):
    with pytest.raises(ValueError, match=message):
        PreconditionedGradientDescent(n_steps, tuple(map(tuple, A)))


def test_prompts_of_another_size_are_refused():
    with pytest.raises(ValueError, match="the preconditioner is of size 3 but the prompts have n_dims=5"):
        PreconditionedGradientDescent.of(1, torch.eye(3).double()).predict(prompts_of())
