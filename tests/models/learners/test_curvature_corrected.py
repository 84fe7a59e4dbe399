from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mesascope.models import GradientDescent, GradientDescentPlusPlus, LinearRegression, ScheduledGradientDescent
from mesascope.models.learners.curvature_corrected import gd_plus_plus_multipliers
from tests.models.learners.prompts import at_every_prefix, members_of, prompts_of, rotated

ETAS, GAMMAS = (0.3, 0.7, 0.2, 0.5), (0.1, -0.05, 0.2, 0.9)


def transform_and_descend(X, y, x_q, etas, gammas):
    """GD++ as the layers of a transformer run it: labels, inputs and query change together, from the old inputs."""
    t = max(len(X), 1)
    X, residual, x_q, y_hat = X.clone(), y.clone(), x_q.clone(), torch.zeros((), dtype=torch.float64)
    for eta, gamma in zip(etas, gammas, strict=True):
        step = eta / t * X.T @ residual
        contraction = torch.eye(X.shape[1], dtype=torch.float64) - gamma / t * X.T @ X
        residual, y_hat = residual - X @ step, y_hat + x_q @ step
        X, x_q = X @ contraction, contraction @ x_q
    return y_hat


@pytest.mark.parametrize("n_steps", [0, 1, 2, 4])
def test_gd_plus_plus_is_its_loop_over_transformed_data(n_steps):
    prompts = prompts_of()
    etas, gammas = ETAS[:n_steps], GAMMAS[:n_steps]
    expected = torch.zeros_like(prompts.ys)
    for b in range(len(prompts)):
        for t in range(prompts.n_points):
            xs, ys = prompts.xs[b], prompts.ys[b]
            expected[b, t] = transform_and_descend(xs[:t], ys[:t], xs[t], etas, gammas)
    preds = GradientDescentPlusPlus(etas, gammas).predict(prompts)
    torch.testing.assert_close(preds, expected, rtol=1e-10, atol=1e-12)


def test_the_order_of_the_two_updates_matters():
    """The negative control of "both from the old x": a step on data already transformed is another learner."""
    prompts = prompts_of()

    def wrong(X, y):
        t = max(len(X), 1)
        w = torch.zeros(X.shape[1], dtype=torch.float64)
        passed = torch.eye(X.shape[1], dtype=torch.float64)  # from today's x to the first
        for eta, gamma in zip(ETAS, GAMMAS, strict=True):
            passed = passed @ (torch.eye(X.shape[1]).double() - gamma / t * passed.T @ X.T @ X @ passed)
            w = w + eta / t * passed @ passed.T @ X.T @ (y - X @ w)
        return w

    preds = GradientDescentPlusPlus(ETAS, GAMMAS).predict(prompts)
    assert not torch.allclose(preds, at_every_prefix(prompts, wrong), rtol=1e-2)


@pytest.mark.parametrize("n_steps", [1, 2, 6])
def test_without_gamma_it_is_gradient_descent(n_steps):
    prompts = prompts_of()
    plain = GradientDescentPlusPlus((0.2,) * n_steps, (0.0,) * n_steps).predict(prompts)
    torch.testing.assert_close(plain, GradientDescent(n_steps, 0.2).predict(prompts), rtol=1e-10, atol=1e-12)


def test_without_gamma_every_step_has_its_own_eta():
    prompts = prompts_of()

    def descend(X, y):
        w = torch.zeros(X.shape[1], dtype=torch.float64)
        for eta in ETAS:
            w = w - eta * X.T @ (X @ w - y) / max(len(X), 1)
        return w

    preds = GradientDescentPlusPlus(ETAS, (0.0,) * 4).predict(prompts)
    torch.testing.assert_close(preds, at_every_prefix(prompts, descend), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(preds, ScheduledGradientDescent(ETAS).predict(prompts), rtol=1e-10, atol=1e-12)


@given(st.floats(-5, 5))
def test_the_last_gamma_is_never_read(gamma):
    prompts = prompts_of(n_prompts=2)
    changed = GradientDescentPlusPlus(ETAS, (*GAMMAS[:-1], gamma)).predict(prompts)
    assert torch.equal(changed, GradientDescentPlusPlus(ETAS, GAMMAS).predict(prompts))


def test_one_step_is_one_gradient_step_whatever_gamma():
    prompts = prompts_of()
    preds = GradientDescentPlusPlus((0.4,), (7.0,)).predict(prompts)
    torch.testing.assert_close(preds, GradientDescent(1, 0.4).predict(prompts), rtol=1e-12, atol=1e-12)


def test_the_path_passes_through_every_shorter_learner():
    prompts = prompts_of()
    path = GradientDescentPlusPlus(ETAS, GAMMAS).path(prompts)
    assert len(path) == 5
    for k, preds in enumerate(path):
        torch.testing.assert_close(preds, GradientDescentPlusPlus(ETAS[:k], GAMMAS[:k]).predict(prompts))


def test_the_response_is_the_published_product():
    lam = torch.linspace(0, 4, 9, dtype=torch.float64)
    current, left = lam, torch.ones_like(lam)
    for eta, gamma in zip(ETAS, GAMMAS, strict=True):
        left = left * (1 - eta * current)
        current = current * (1 - gamma * current) ** 2
    torch.testing.assert_close(GradientDescentPlusPlus(ETAS, GAMMAS).response(lam), 1 - left)


def test_the_weights_predict():
    prompts = prompts_of()
    learner = GradientDescentPlusPlus(ETAS, GAMMAS)
    preds = torch.einsum("bnd,bnd->bn", learner.weights(prompts), prompts.xs)
    torch.testing.assert_close(preds, learner.predict(prompts))


def test_it_is_equivariant_under_rotations_of_x():
    prompts, learner = prompts_of(), GradientDescentPlusPlus(ETAS, GAMMAS)
    torch.testing.assert_close(learner.predict(rotated(prompts, 1)), learner.predict(prompts))


def test_multipliers_are_differentiable_in_all_scalars_but_the_last_gamma():
    lam = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    etas, gammas = (torch.tensor(values, dtype=torch.float64, requires_grad=True) for values in (ETAS, GAMMAS))
    assert torch.autograd.gradcheck(lambda e, g: gd_plus_plus_multipliers(lam, e, g)[-1], (etas, gammas))
    gd_plus_plus_multipliers(lam, etas, gammas)[-1].sum().backward()
    assert etas.grad is not None and gammas.grad is not None
    assert etas.grad.ne(0).all() and gammas.grad[:-1].ne(0).all() and gammas.grad[-1] == 0


def test_the_label_has_the_scalars_that_are_read():
    learner = GradientDescentPlusPlus((1.437, 11.5), (1.361, 0.25))
    assert learner.label == "GD++ k=2 η=(1.44, 11.5) γ=(1.36)"
    assert repr(learner) == "<GradientDescentPlusPlus GD++ k=2 η=(1.44, 11.5) γ=(1.36)>"


def test_the_number_of_steps_is_that_of_the_scalars_and_follows_them():
    learner = GradientDescentPlusPlus(ETAS, GAMMAS)
    assert learner.n_steps == 4
    assert replace(learner, etas=ETAS[:2], gammas=GAMMAS[:2]).n_steps == 2


def test_an_eta_without_its_gamma_is_refused():
    with pytest.raises(ValueError, match="2 etas and 1 gammas; expected one of each per step"):
        GradientDescentPlusPlus((0.1, 0.2), (0.1,))


def test_a_step_beyond_the_scalars_is_refused():
    with pytest.raises(ValueError, match=r"steps=\[1, 5\]: this learner has scalars for 4 steps"):
        GradientDescentPlusPlus(ETAS, GAMMAS).path(prompts_of(), [1, 5])


def test_its_free_scalars_are_those_that_are_read():
    learner = GradientDescentPlusPlus(ETAS, GAMMAS)
    np.testing.assert_array_equal(learner.parameters(), [*ETAS, *GAMMAS[:-1]])
    moved = learner.with_parameters(np.arange(7.0))
    assert (moved.etas, moved.gammas) == ((0.0, 1.0, 2.0, 3.0), (4.0, 5.0, 6.0, GAMMAS[-1]))
    assert learner.strength == {"η1": 0.3, "η2": 0.7, "η3": 0.2, "η4": 0.5, "γ1": 0.1, "γ2": -0.05, "γ3": 0.2}
    assert GradientDescentPlusPlus((), ()).with_parameters(np.array([])) == GradientDescentPlusPlus((), ())


def test_its_starts_are_seeded_and_grow_from_step_to_step_in_the_mean():
    task = LinearRegression(n_dims=3, n_points=8)
    learners = members_of(GradientDescentPlusPlus, task)
    assert learners == members_of(GradientDescentPlusPlus, task)
    assert len(set(learners)) == len(learners) and {learner.n_steps for learner in learners} == {2, 3, 4}
    etas = np.log([learner.etas for learner in learners if learner.n_steps == 3]).mean(0)
    assert (np.diff(etas) > 0).all()
    assert any(len(set(learner.etas)) == 1 for learner in learners)  # tied
