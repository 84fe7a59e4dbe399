import pytest
import torch

from mesascope.models import LinearRegression
from mesascope.models.learners import BFGS, LBFGS, ConjugateGradient
from tests.models.learners.prompts import at_every_prefix, prompts_of


def bfgs(X, y, n_steps):
    """BFGS in the original coordinates, with the update as a product of matrices."""
    S, b = X.T @ X, X.T @ y
    w, H, eye = torch.zeros_like(b), torch.eye(len(b)).double(), torch.eye(len(b)).double()
    for _ in range(min(n_steps, len(X), len(b))):
        gradient = S @ w - b
        p = -H @ gradient
        s = -(gradient @ p) / (p @ S @ p) * p
        z = S @ s
        left = eye - torch.outer(s, z) / (z @ s)
        w, H = w + s, left @ H @ left.T + torch.outer(s, s) / (z @ s)
    return w


@pytest.mark.parametrize("n_steps", [0, 1, 2, 3])
def test_bfgs_is_its_loop(n_steps):
    prompts = prompts_of()
    expected = at_every_prefix(prompts, lambda X, y: bfgs(X, y, n_steps))
    torch.testing.assert_close(BFGS(n_steps).predict(prompts), expected, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("n_dims, n_points", [(1, 4), (5, 12), (8, 5), (12, 30)])
@pytest.mark.parametrize("make", [BFGS, lambda k: LBFGS(k, 1), lambda k: LBFGS(k, 3)], ids=["BFGS", "L1", "L3"])
def test_with_exact_line_search_it_is_conjugate_gradients(make, n_dims, n_points):
    """Which is why it has no name of its own."""
    prompts = prompts_of(n_dims, n_points, kappa=5.0)
    steps = range(5)
    expected = ConjugateGradient(4).path(prompts, steps)
    torch.testing.assert_close(make(4).path(prompts, steps), expected, atol=1e-8, rtol=1e-8)


def test_the_two_loops_are_the_matrix_while_nothing_is_forgotten():
    prompts = prompts_of(6, 14, kappa=5.0)
    torch.testing.assert_close(LBFGS(6, 6).predict(prompts), BFGS(6).predict(prompts), atol=1e-8, rtol=1e-8)


def test_they_belong_to_the_family_of_conjugate_gradients_and_are_not_tried_beside_it():
    task = LinearRegression(n_dims=3, n_points=8)
    for learner in (BFGS(2), LBFGS(2)):
        assert learner.family == ConjugateGradient(2).family and learner.strength == {"k": 2.0}
        assert type(learner).sweeps(task) == ()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: BFGS(-1), r"BFGS\(n_steps=-1\): expected n_steps >= 0"),
        (lambda: LBFGS(-1), "expected n_steps >= 0 and memory >= 1"),
        (lambda: LBFGS(3, memory=0), "memory=0.*expected n_steps >= 0 and memory >= 1"),
    ],
)
def test_impossible_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
