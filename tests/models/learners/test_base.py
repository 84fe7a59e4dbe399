"""What holds for every learner of a weight vector, up to the named exceptions."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mesascope.models import (
    GradientDescent,
    GradientDescentPlusPlus,
    LeastSquares,
    LinearRegression,
    Newton,
    Prompts,
    Ridge,
)
from mesascope.models.learners import (
    BFGS,
    LBFGS,
    Averaging,
    Chebyshev,
    ConjugateGradient,
    Momentum,
    OnlineGradientDescent,
    PreconditionedGradientDescent,
    ScheduledGradientDescent,
    Sweep,
)
from tests.models.learners.prompts import prompts_of, rotated

ON_SUMS = [
    GradientDescent(7, eta=0.01, loss="sum"),
    Newton(5),
    Newton(5, alpha="twice_frobenius"),
    Newton(5, alpha="twice_spectral"),
    Newton(0),
    Chebyshev(4),
    Ridge(0.3),
    LeastSquares(),
]
ON_MEANS = [
    GradientDescent(7, eta=0.1),
    GradientDescent(0, eta=0.1),
    Momentum(6, eta=0.1, beta=0.6),
    ScheduledGradientDescent((0.1, 0.4, -0.02)),
    GradientDescentPlusPlus((0.1, 0.4, 0.2), (0.05, -0.02, 0.0)),
    Averaging(),
]
FILTERS = [*ON_SUMS, *ON_MEANS]
KRYLOV = [ConjugateGradient(3), BFGS(3), LBFGS(4, memory=2)]  # their polynomial depends on y
ONLINE = OnlineGradientDescent(0.1)  # the order of the points matters to it
DIAGONAL = torch.linspace(0.05, 0.25, 5, dtype=torch.float64).diag()
PRECONDITIONED = PreconditionedGradientDescent.of(3, DIAGONAL)  # it knows directions, and leaves the span of the points
LEARNERS = [*FILTERS, *KRYLOV, ONLINE, PRECONDITIONED]
STEPPED = [*ON_SUMS[:6], *ON_MEANS[:3], *KRYLOV, PRECONDITIONED]
PROPERTY = settings(max_examples=15)


def every(learners):
    return pytest.mark.parametrize("learner", learners, ids=lambda learner: learner.label)


def without(*exceptions):
    return every([learner for learner in LEARNERS if learner not in exceptions])


@every(LEARNERS)
def test_nothing_is_predicted_from_no_points(learner):
    assert (learner.predict(prompts_of())[:, 0] == 0).all()


@every(LEARNERS)
def test_predictions_are_the_weights_on_the_query(learner):
    prompts = prompts_of()
    preds = learner.predict(prompts)
    assert preds.dtype == torch.float64 and preds.shape == prompts.ys.shape
    torch.testing.assert_close(preds, (learner.weights(prompts) * prompts.xs).sum(-1))


@every(LEARNERS)
def test_predictions_at_some_points_are_those_of_all(learner):
    prompts = prompts_of()
    torch.testing.assert_close(learner.predict_at(prompts, [2, 11]), learner.predict(prompts)[:, [2, 11]])


@without(PRECONDITIONED)
def test_the_weights_lie_in_the_span_of_the_points(learner):
    prompts = prompts_of()
    for t in range(4):  # below n_dims = 5: there is an outside
        inside = torch.linalg.pinv(prompts.xs[:, :t]) @ prompts.xs[:, :t]
        w = learner.weights(prompts)[:, t]
        torch.testing.assert_close(torch.einsum("bij,bj->bi", inside, w), w, atol=1e-10, rtol=0)


@without(PRECONDITIONED)
@PROPERTY
@given(seed=st.integers(0, 10_000), n_dims=st.integers(1, 7), n_points=st.integers(1, 12))
def test_rotating_x_changes_no_prediction(learner, seed, n_dims, n_points):
    prompts = prompts_of(n_dims, n_points, n_prompts=2, seed=seed)
    # 1e-7: at t ≈ d least squares amplifies rounding by cond(X)², up to 1e8 in a few hundred draws.
    expected = learner.predict(prompts)
    scale = 1 + expected.abs().max().item()
    torch.testing.assert_close(learner.predict(rotated(prompts, seed)), expected, atol=1e-7 * scale, rtol=0)


@without(ONLINE)
@PROPERTY
@given(seed=st.integers(0, 10_000), order=st.permutations(range(8)))
def test_the_order_of_the_context_does_not_matter(learner, seed, order):
    prompts = prompts_of(5, 9, n_prompts=2, seed=seed)
    index = torch.tensor([*order, 8])
    shuffled = Prompts(prompts.xs[:, index], prompts.ys[:, index])
    torch.testing.assert_close(learner.predict(shuffled)[:, -1], learner.predict(prompts)[:, -1], atol=1e-7, rtol=1e-7)


@without(*KRYLOV)
def test_predictions_are_linear_in_y(learner):
    prompts = prompts_of()
    other = torch.randn_like(prompts.ys)
    mixed = learner.predict(Prompts(prompts.xs, 2 * prompts.ys + other))
    expected = 2 * learner.predict(prompts) + learner.predict(Prompts(prompts.xs, other))
    torch.testing.assert_close(mixed, expected, atol=1e-9, rtol=1e-9)


@every(LEARNERS)
@pytest.mark.parametrize("scale", [-3.0, 1e-6, 1e6])
def test_predictions_scale_with_y(learner, scale):
    """Where predictions are not linear in y too; and no tolerance inside is absolute."""
    prompts = prompts_of()
    scaled = learner.predict(Prompts(prompts.xs, scale * prompts.ys)) / scale
    torch.testing.assert_close(scaled, learner.predict(prompts), atol=1e-8, rtol=1e-8)


@every(LEARNERS)
def test_a_prediction_sees_neither_its_own_y_nor_what_comes_later(learner):
    prompts = prompts_of()
    xs, ys = prompts.xs.clone(), prompts.ys.clone()
    xs[:, 7:], ys[:, 6:] = 5.0, -5.0
    torch.testing.assert_close(learner.predict(Prompts(xs, ys))[:, :7], learner.predict(prompts)[:, :7])


@every(FILTERS)
def test_the_response_is_the_fraction_of_w_recovered_along_each_eigenvector(learner):
    prompts = prompts_of(noise_std=0.0)
    d, w = prompts.decomposition, prompts.w
    t = 9
    along = torch.einsum("bij,bi->bj", d.basis[:, t], learner.weights(prompts)[:, t])
    truth = torch.einsum("bij,bi->bj", d.basis[:, t], w)
    eigenvalues = d.eigenvalues[:, t] / (t if learner in ON_MEANS else 1)
    torch.testing.assert_close(along / truth, learner.response(eigenvalues), atol=1e-9, rtol=1e-9)


@every(LEARNERS)
def test_float32_prompts_are_computed_on_in_float64(learner):
    prompts = prompts_of().to(torch.float32)
    assert torch.equal(learner.predict(prompts), learner.predict(prompts.to(torch.float64)))


DEGENERATE = {
    "no example": prompts_of(5, 1),
    "one example": prompts_of(5, 2),
    "one point again and again": Prompts(prompts_of().xs[:, :1].expand(-1, 12, -1), prompts_of().ys),
    "points in a plane": Prompts(prompts_of().xs * torch.tensor([1.0, 1, 0, 0, 0]).double(), prompts_of().ys),
    "x is zero": Prompts(torch.zeros(2, 9, 5).double(), torch.ones(2, 9).double()),
    "y is zero": Prompts(prompts_of().xs, torch.zeros(4, 12).double()),
}


@every(LEARNERS)
@pytest.mark.parametrize("prompts", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_prompts_get_finite_predictions(learner, prompts):
    preds = learner.predict(prompts)
    assert preds.isfinite().all() and (preds[:, 0] == 0).all()
    if not prompts.xs.any() or not prompts.ys.any():
        assert (preds == 0).all()


@every(STEPPED)
def test_a_path_is_the_prediction_after_each_number_of_steps(learner):
    prompts = prompts_of()
    path = learner.path(prompts)
    assert path.shape == (learner.n_steps + 1, *prompts.ys.shape)
    chosen = learner.path(prompts, [0, 2, 2, 9])
    for k, preds in [*enumerate(path), *zip([0, 2, 2, 9], chosen, strict=True)]:
        torch.testing.assert_close(preds, replace(learner, n_steps=k).predict(prompts))


@pytest.mark.parametrize("steps", [[3, 1], [-1, 2]])
@pytest.mark.parametrize("learner", [GradientDescent(3, 0.1), Newton(3), ConjugateGradient(3)], ids=repr)
def test_step_counts_that_do_not_ascend_from_zero_are_refused(learner, steps):
    with pytest.raises(ValueError, match="expected ascending step counts"):
        learner.path(prompts_of(), steps)


@every(LEARNERS)
def test_the_free_scalars_make_the_learner_again_and_others_another(learner):
    values = learner.parameters()
    again = learner.with_parameters(values)
    prompts = prompts_of()
    torch.testing.assert_close(again.predict(prompts), learner.predict(prompts))
    torch.testing.assert_close(again.parameters(), values)
    if len(values):
        other = learner.with_parameters(values + 0.1)
        assert type(other) is type(learner) and other.label != learner.label


@pytest.mark.parametrize("learner", [GradientDescent(2, 0.1), Ridge(0.3), Momentum(2, 0.1, 0.5), ONLINE], ids=repr)
@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_a_scalar_that_runs_away_stays_one_that_a_learner_may_have(learner, value):
    """An optimiser may try anything."""
    assert learner.with_parameters(learner.parameters() + value).label


@every(LEARNERS)
def test_a_sweep_predicts_what_each_of_its_members_does(learner):
    task = LinearRegression(n_dims=5, n_points=12)
    prompts = prompts_of(n_prompts=2)
    for sweep in [*type(learner).sweeps(task)[-2:], Sweep(learner, (getattr(learner, "n_steps", 0),))]:
        members, preds = list(sweep.members()), sweep.predict(prompts)
        assert len(members) == len(preds) == len(set(members))
        for member, together in zip(members, preds, strict=True):
            torch.testing.assert_close(together, member.predict(prompts), equal_nan=True, msg=member.label)


@every(LEARNERS)
def test_a_learner_shows_its_label_and_what_can_be_known_of_it(learner):
    assert repr(learner) == f"<{type(learner).__name__} {learner.label}>"
    assert len({other.label for other in LEARNERS}) == len(LEARNERS)
    assert all(isinstance(value, float) for value in learner.strength.values())
    assert bool(learner.strength) or isinstance(learner, LeastSquares | Averaging)
    assert learner.family not in learner.limits
    assert hash(learner) == hash(replace(learner))
