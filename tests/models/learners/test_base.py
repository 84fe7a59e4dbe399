"""What holds for every filter learner."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mesascope.models import GradientDescent, LeastSquares, Newton, Prompts, Ridge
from mesascope.models.learners import Averaging
from tests.models.learners.prompts import prompts_of, rotated

LEARNERS = [
    GradientDescent(7, eta=0.1),
    GradientDescent(7, eta=0.01, loss="sum"),
    GradientDescent(0, eta=0.1),
    Newton(5),
    Newton(5, alpha="twice_frobenius"),
    Newton(5, alpha="twice_spectral"),
    Newton(0),
    Ridge(0.3),
    LeastSquares(),
    Averaging(),
]
every_learner = pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: learner.label)
PROPERTY = settings(max_examples=15)


@every_learner
def test_nothing_is_predicted_from_no_points(learner):
    assert (learner.predict(prompts_of())[:, 0] == 0).all()


@every_learner
def test_predictions_are_the_weights_on_the_query(learner):
    prompts = prompts_of()
    preds = learner.predict(prompts)
    assert preds.dtype == torch.float64 and preds.shape == prompts.ys.shape
    torch.testing.assert_close(preds, (learner.weights(prompts) * prompts.xs).sum(-1))


@every_learner
def test_the_weights_lie_in_the_span_of_the_points(learner):
    prompts = prompts_of()
    for t in range(4):  # below n_dims = 5: there is an outside
        inside = torch.linalg.pinv(prompts.xs[:, :t]) @ prompts.xs[:, :t]
        w = learner.weights(prompts)[:, t]
        torch.testing.assert_close(torch.einsum("bij,bj->bi", inside, w), w, atol=1e-10, rtol=0)


@every_learner
@PROPERTY
@given(seed=st.integers(0, 10_000), n_dims=st.integers(1, 7), n_points=st.integers(1, 12))
def test_rotating_x_changes_no_prediction(learner, seed, n_dims, n_points):
    prompts = prompts_of(n_dims, n_points, n_prompts=2, seed=seed)
    # 1e-7: at t ≈ d least squares amplifies rounding by cond(X)², up to 1e8 in a few hundred draws.
    expected = learner.predict(prompts)
    scale = 1 + expected.abs().max().item()
    torch.testing.assert_close(learner.predict(rotated(prompts, seed)), expected, atol=1e-7 * scale, rtol=0)


@every_learner
@PROPERTY
@given(seed=st.integers(0, 10_000), order=st.permutations(range(8)))
def test_the_order_of_the_context_does_not_matter(learner, seed, order):
    prompts = prompts_of(5, 9, n_prompts=2, seed=seed)
    index = torch.tensor([*order, 8])
    shuffled = Prompts(prompts.xs[:, index], prompts.ys[:, index])
    torch.testing.assert_close(learner.predict(shuffled)[:, -1], learner.predict(prompts)[:, -1], atol=1e-7, rtol=1e-7)


@every_learner
def test_predictions_are_linear_in_y(learner):
    prompts = prompts_of()
    other = torch.randn_like(prompts.ys)
    mixed = learner.predict(Prompts(prompts.xs, 2 * prompts.ys + other))
    expected = 2 * learner.predict(prompts) + learner.predict(Prompts(prompts.xs, other))
    torch.testing.assert_close(mixed, expected, atol=1e-9, rtol=1e-9)


@every_learner
def test_a_prediction_sees_neither_its_own_y_nor_what_comes_later(learner):
    prompts = prompts_of()
    xs, ys = prompts.xs.clone(), prompts.ys.clone()
    xs[:, 7:], ys[:, 6:] = 5.0, -5.0
    torch.testing.assert_close(learner.predict(Prompts(xs, ys))[:, :7], learner.predict(prompts)[:, :7])


@every_learner
def test_the_response_is_the_fraction_of_w_recovered_along_each_eigenvector(learner):
    prompts = prompts_of(noise_std=0.0)
    d, w = prompts.decomposition, prompts.w
    t = 9
    along = torch.einsum("bij,bi->bj", d.basis[:, t], learner.weights(prompts)[:, t])
    truth = torch.einsum("bij,bi->bj", d.basis[:, t], w)
    mean_loss = isinstance(learner, Averaging) or (isinstance(learner, GradientDescent) and learner.loss == "mean")
    eigenvalues = d.eigenvalues[:, t] / (t if mean_loss else 1)
    torch.testing.assert_close(along / truth, learner.response(eigenvalues), atol=1e-9, rtol=1e-9)


@every_learner
def test_float32_prompts_are_computed_on_in_float64(learner):
    prompts = prompts_of().to(torch.float32)
    assert torch.equal(learner.predict(prompts), learner.predict(prompts.to(torch.float64)))


@pytest.mark.parametrize("learner", LEARNERS[:-3], ids=lambda learner: learner.label)
def test_a_path_is_the_prediction_after_each_number_of_steps(learner):
    prompts = prompts_of()
    path = learner.path(prompts)
    assert path.shape == (learner.n_steps + 1, *prompts.ys.shape)
    chosen = learner.path(prompts, [0, 2, 9])
    for k, preds in [*enumerate(path), *zip([0, 2, 9], chosen, strict=True)]:
        torch.testing.assert_close(preds, type(learner)(**{**vars(learner), "n_steps": k}).predict(prompts))


@pytest.mark.parametrize("steps", [[3, 1], [-1, 2]])
@pytest.mark.parametrize("learner", [GradientDescent(3, 0.1), Newton(3)], ids=repr)
def test_step_counts_that_do_not_ascend_from_zero_are_refused(learner, steps):
    with pytest.raises(ValueError, match="expected ascending step counts"):
        learner.path(prompts_of(), steps)


@every_learner
def test_a_learner_shows_its_label(learner):
    assert repr(learner) == f"<{type(learner).__name__} {learner.label}>"
    assert len({other.label for other in LEARNERS}) == len(LEARNERS)
