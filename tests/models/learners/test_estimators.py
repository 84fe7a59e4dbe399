import math
import warnings
from typing import Any, ClassVar

import numpy as np
import pytest
import sklearn.linear_model
import torch
from scipy.optimize import minimize

from mesascope.models import LeastSquares, LinearRegression, Prompts
from mesascope.models.inputs import Uniform
from mesascope.models.learners import EstimatorLearner, GreedyTree, Lasso, LogisticRegression, TwoLayerNet
from tests.models.learners.prompts import members_of, prompts_of

LEARNERS = [Lasso(0.05), GreedyTree(2), GreedyTree(on_signs=True), LogisticRegression(3.0), TwoLayerNet(8, 20)]
every_learner = pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: learner.label)


def labelled(n_prompts=3, n_points=10):
    """Points of the linear task with the sign of y for a label; regressors take it for a number."""
    prompts = prompts_of(3, n_points, n_prompts=n_prompts)
    return Prompts(prompts.xs, prompts.ys.sign())


@every_learner
def test_what_holds_for_every_estimator(learner):
    prompts = labelled()
    preds = learner.predict(prompts)
    assert preds.shape == prompts.ys.shape and preds.dtype == torch.float64 and preds.isfinite().all()
    assert (preds[:, 0] == 0).all()
    assert torch.equal(learner.predict(prompts), preds)  # seeded
    xs, ys = prompts.xs.clone(), prompts.ys.clone()
    xs[:, 7:], ys[:, 6:] = 5.0, -ys[:, 6:]
    assert torch.equal(learner.predict(Prompts(xs, ys))[:, :7], preds[:, :7])
    single = Prompts(prompts.xs.float(), prompts.ys.float())
    torch.testing.assert_close(learner.predict(single), preds, atol=1e-3, rtol=1e-3)  # x rounded, then float64


@every_learner
def test_it_is_compared_by_its_scalars_and_predicts_one_prefix_at_a_time(learner):
    assert learner == type(learner)(**vars(learner)) and hash(learner) == hash(type(learner)(**vars(learner)))
    assert repr(learner) == f"<{type(learner).__name__} {learner.label}>"
    assert not learner.batched and LeastSquares().batched
    assert len({other.label for other in LEARNERS}) == len(LEARNERS)


def test_lasso_is_scikit_learns_and_fulfils_its_optimality_conditions():
    prompts = prompts_of(5, 12)
    preds = Lasso(0.1).predict(prompts)
    for b in range(len(prompts)):
        for t in range(1, prompts.n_points):
            X, y = prompts.xs[b, :t].numpy(), prompts.ys[b, :t].numpy()
            # Not its default tolerance of 1e-4: the path is exact.
            model = sklearn.linear_model.Lasso(alpha=0.1, fit_intercept=False, tol=1e-14, max_iter=1_000_000)
            w = model.fit(X, y).coef_
            assert preds[b, t].item() == pytest.approx(prompts.xs[b, t].numpy() @ w, abs=1e-7)
            gradient = X.T @ (y - X @ w) / t  # the subgradient of |w|₁: equal to ±0.1 where w ≠ 0, inside elsewhere
            np.testing.assert_allclose(gradient[w != 0], 0.1 * np.sign(w[w != 0]), atol=1e-6)
            assert (np.abs(gradient[w == 0]) < 0.1 + 1e-6).all()


def test_the_penalties_of_lasso_are_in_units_of_x_and_w():
    small, large = (
        LinearRegression(n_dims=3, n_points=8, inputs=Uniform(half_width=h), w_std=w) for h, w in ((1, 1), (2, 5))
    )
    penalties = [[learner.penalty for learner in members_of(Lasso, task)] for task in (small, large)]
    assert penalties[1] == pytest.approx([20 * penalty for penalty in penalties[0]])
    assert Lasso(0.3).strength == {"r": 0.3}


def test_lasso_goes_to_least_squares_and_to_zero():
    prompts = prompts_of(3, 12, kappa=2.0)
    least_squares = LeastSquares().predict(prompts)[:, 8:]
    torch.testing.assert_close(Lasso(1e-7).predict(prompts)[:, 8:], least_squares, atol=1e-3, rtol=1e-3)
    assert Lasso(1e3).predict(prompts).abs().max() == 0


def test_a_full_tree_remembers_every_example_and_a_stump_has_two_values():
    prompts = prompts_of(3, 12)
    repeated = Prompts(torch.cat([prompts.xs, prompts.xs[:, 4:5]], 1), torch.cat([prompts.ys, prompts.ys[:, :1]], 1))
    torch.testing.assert_close(GreedyTree().predict(repeated)[:, -1], prompts.ys[:, 4])
    X, y = prompts.xs[0, :11].numpy(), prompts.ys[0, :11].numpy()
    best = min(
        (((left - left.mean()) ** 2).sum() + ((right - right.mean()) ** 2).sum(), j, cut)
        for j in range(3)
        for cut in (np.sort(X[:, j])[1:] + np.sort(X[:, j])[:-1]) / 2
        for left, right in [(y[X[:, j] <= cut], y[X[:, j] > cut])]
    )
    side = X[:, best[1]] <= best[2] if prompts.xs[0, 11, best[1]] <= best[2] else X[:, best[1]] > best[2]
    assert GreedyTree(1).predict(prompts)[0, 11].item() == pytest.approx(y[side].mean())


def test_a_tree_on_signs_sees_nothing_but_signs():
    prompts = prompts_of(3, 12)
    stretched = Prompts(prompts.xs * torch.rand_like(prompts.xs) + 0.01 * prompts.xs, prompts.ys)
    assert torch.equal(GreedyTree(on_signs=True).predict(stretched), GreedyTree(on_signs=True).predict(prompts))
    assert not torch.equal(GreedyTree().predict(stretched), GreedyTree().predict(prompts))


def test_logistic_regression_minimises_its_penalised_loss():
    prompts = labelled()
    preds = LogisticRegression(3.0).predict(prompts)
    X, y = prompts.xs[0, :9].numpy(), prompts.ys[0, :9].numpy()
    assert len(set(y)) == 2
    found = minimize(lambda w: np.logaddexp(0, -y * (X @ w)).sum() + w @ w / 6, np.zeros(3), tol=1e-10)
    assert preds[0, 9].item() == pytest.approx(prompts.xs[0, 9].numpy() @ found.x, abs=1e-2)  # its tolerance: 1e-4


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_while_all_labels_are_the_same_the_logit_is_the_rule_of_successions(sign):
    """Laplace: after t equal outcomes the next is the same with probability (t+1)/(t+2)."""
    prompts = Prompts(labelled().xs, torch.full((3, 10), sign, dtype=torch.float64))
    t = torch.arange(10, dtype=torch.float64)
    same = (t + 1) / (t + 2)
    expected = sign * torch.log(same / (1 - same)).expand(3, 10)
    torch.testing.assert_close(LogisticRegression().predict(prompts), expected)


def test_a_two_layer_net_fits_what_is_not_linear():
    """Even in x, so that a linear fit explains nothing; the net needs no warning to do so."""
    xs = torch.linspace(-2, 2, 9, dtype=torch.float64)[torch.tensor([0, 8, 1, 7, 3, 5, 2, 4, 6])][None, :, None]
    prompts = Prompts(xs, xs[..., 0].abs())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        error = (TwoLayerNet(50, 300, 0.02).predict(prompts) - prompts.ys)[0, -1].abs()
    assert error < 0.3  # |x| is 1 there
    assert (LeastSquares().predict(prompts) - prompts.ys)[0, -1].abs() > 0.5


def test_any_other_estimator_takes_four_lines():
    class RidgeClassifier(EstimatorLearner):
        family: ClassVar[str] = "ridge classifier"
        label = "ridge classifier"

        def estimator(self) -> Any:
            return sklearn.linear_model.RidgeClassifier()

    preds = RidgeClassifier().predict(labelled())
    assert preds.isfinite().all() and preds[:, 2:].abs().max() > 0


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Lasso(0.0), "expected penalty > 0; use LeastSquares for 0"),
        (lambda: GreedyTree(0), "expected max_depth >= 1 or None"),
        (lambda: LogisticRegression(0.0), "expected prior_variance > 0; a large one regularises little"),
        (lambda: LogisticRegression(math.nan), "expected prior_variance > 0"),
        (lambda: TwoLayerNet(0), "expected width >= 1, n_steps >= 1 and learning_rate > 0"),
        (lambda: TwoLayerNet(5, 0), "expected width >= 1"),
        (lambda: TwoLayerNet(5, 5, 0.0), "learning_rate=0.0"),
    ],
)
def test_impossible_scalars_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
