import pytest
import torch

from mesascope.models import (
    GradientDescent,
    HookedRegressor,
    LeastSquares,
    LinearRegression,
    MesascopeError,
    NearestNeighbours,
    Prompts,
    RegressorConfig,
    Ridge,
)
from mesascope.models.inputs import Gaussian
from mesascope.models.spectra import LogUniform
from mesascope.models.streams import generator
from mesascope.probes import (
    antipodal_queries,
    induced_operators,
    layer_predictor,
    linearity_in_y,
    weights_by_jacobian,
    weights_by_queries,
)
from tests.models.families import FAMILIES, prompts_of

TASK = LinearRegression(n_dims=4, n_points=9, inputs=Gaussian(spectrum=LogUniform(kappa=10)))
LEARNERS = [GradientDescent(3, 0.2), Ridge(0.5), LeastSquares()]


def sampled(n_prompts=40, seed=0, task=TASK):
    return task.sample(n_prompts, seed=seed, dtype=torch.float64)


def rng(seed=0):
    return generator(seed, "test")


def alone(learner):
    """A learner as the only label."""
    return lambda prompts: learner.predict(prompts)[None]


def reading(model):
    """A slot model with its own reading of every residual hook."""
    return layer_predictor(model, dict.fromkeys(model.residual_hooks, model.unembed))


def linear_model(n_layers=2, seed=1):
    """Linear self-attention: linear in x_q at every layer, and in no other way simple."""
    cfg = RegressorConfig.linear_self_attention(n_dims=4, n_points=9, n_layers=n_layers)
    return HookedRegressor(cfg, seed).double()


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
@pytest.mark.parametrize("point", [2, 4, 8])
def test_queries_give_the_weights_of_a_learner(learner, point):
    prompts = sampled()
    found = weights_by_queries(alone(learner), prompts, point, antipodal_queries(prompts, rng()))
    torch.testing.assert_close(found.weights[0], learner.weights(prompts)[:, point])
    assert found.linear[0].ci == pytest.approx((1.0, 1.0)) and found.point == point


def test_queries_and_jacobian_agree_on_a_model_that_is_linear_in_its_query():
    prompts, predict = sampled(), reading(linear_model())
    by_queries = weights_by_queries(predict, prompts, 8, antipodal_queries(prompts, rng()))
    torch.testing.assert_close(by_queries.weights, weights_by_jacobian(predict, prompts, 8))
    # The input's own y-slot says nothing; both layers are linear.
    assert [linear.value for linear in by_queries.linear] == pytest.approx([0, 1, 1, 1])
    assert not by_queries.weights[0].any()


def test_linear_self_attention_induces_what_it_computes():
    # ŷ = Σ_j (x_j y_j-products): for one layer a bilinear form, whose w̃ is read off the weights.
    model, prompts = linear_model(1), sampled()
    (layer,) = model.attentions
    M = (layer.W_Q @ layer.W_K.mT)[0]
    value = (layer.W_V @ layer.W_O)[0, :, -1]
    tokens = torch.cat([prompts.xs[:, :-1], prompts.ys[:, :-1, None]], dim=-1)
    exact = -torch.einsum("de,bnd,bnf,f->be", M[:-1].mT, tokens, tokens, value)
    torch.testing.assert_close(weights_by_jacobian(reading(model), prompts, 8)[-1], exact)


@pytest.mark.parametrize("family", ["decoder", "lsa", "separate", "lstm", "joint softmax"])
def test_the_jacobian_is_that_of_finite_differences_at_every_label(family):
    model = HookedRegressor(FAMILIES[family], 1).double()
    prompts = prompts_of(FAMILIES[family])
    hooks = model.residual_hooks
    readers = {hook: (lambda resid, k=k: resid[..., k]) for k, hook in enumerate(hooks)}
    predict, point, eps = layer_predictor(model, readers), 5, 1e-5
    found = weights_by_jacobian(predict, prompts, point)
    assert found.shape == (len(hooks) + 1, len(prompts), 3)
    with torch.no_grad():
        for axis in range(3):
            step = torch.zeros_like(prompts.xs)
            step[:, point, axis] = eps
            ends = [predict(Prompts(prompts.xs + sign * step, prompts.ys))[..., -1] for sign in (1, -1)]
            torch.testing.assert_close(found[..., axis], (ends[0] - ends[1]) / (2 * eps), atol=1e-7, rtol=1e-5)


def test_a_prefix_is_all_that_a_decoder_sees():
    model = HookedRegressor(FAMILIES["decoder"], 1).double()
    prompts, predict = prompts_of(FAMILIES["decoder"]), layer_predictor(model, {})
    cut = Prompts(prompts.xs[:, :4], prompts.ys[:, :4])
    torch.testing.assert_close(weights_by_jacobian(predict, prompts, 3), weights_by_jacobian(predict, cut, 3))


def test_a_layer_predictor_ends_with_the_models_output():
    model = HookedRegressor(FAMILIES["decoder"], 1).double()
    prompts = prompts_of(FAMILIES["decoder"])
    first = model.residual_hooks[0]
    found = layer_predictor(model, {first: lambda resid: resid.sum(-1)})(prompts)
    preds, cache = model.run_with_cache(prompts.xs, prompts.ys, first)
    torch.testing.assert_close(found, torch.stack([cache[first][:, ::2].sum(-1), preds]))
    assert found.requires_grad


@pytest.mark.parametrize("n_frames", [1, 3])
def test_queries_come_with_their_negatives_and_are_as_long_as_the_inputs(n_frames):
    prompts = sampled()
    queries = antipodal_queries(prompts, rng(), n_frames)
    assert queries.shape == (40, 8 * n_frames, 4)
    assert queries.sum(1).abs().max() < 1e-12
    length = prompts.xs.square().sum(-1).mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(queries.norm(dim=-1), length.expand(-1, 8 * n_frames))
    gram = queries.mT @ queries
    torch.testing.assert_close(gram, 2 * n_frames * length[..., None] ** 2 * torch.eye(4).double())


def test_an_intercept_changes_no_weight_but_costs_linearity():
    prompts, learner = sampled(), Ridge(0.5)
    queries = antipodal_queries(prompts, rng())

    def shifted(some):
        return learner.predict(some)[None] + 1.0

    found = weights_by_queries(shifted, prompts, 6, queries)
    torch.testing.assert_close(found.weights[0], learner.weights(prompts)[:, 6])
    assert found.linear[0].value < 0.95


def test_linearity_is_adjusted_for_what_was_fitted():
    # Pure noise: n_dims of n_q numbers are always explained, which is no linearity.
    prompts, random = sampled(200), torch.Generator().manual_seed(0)

    def noise(some):
        return torch.randn(1, len(some), 1, generator=random, dtype=torch.float64)

    (found,) = weights_by_queries(noise, prompts, 6, antipodal_queries(prompts, rng())).linear
    assert found.low < 0 < found.high and abs(found.value) < 0.05


def test_nearest_neighbours_are_not_linear_in_the_query():
    prompts = sampled()
    found = weights_by_queries(alone(NearestNeighbours(1)), prompts, 8, antipodal_queries(prompts, rng(), 4))
    assert found.linear[0].high < 0.9


def test_a_predictor_of_zero_is_linear_in_nothing():
    prompts = sampled()

    def zero(some):
        return torch.zeros(1, len(some), some.n_points).double()

    assert weights_by_queries(zero, prompts, 3, antipodal_queries(prompts, rng())).linear[0].ci == (0, 0)
    assert linearity_in_y(zero, prompts.xs, prompts.ys, prompts.ys.flip(0))[0][3].ci == (0, 0)
    weigh = lambda some, point: torch.zeros(1, len(some), 4).double()  # noqa: E731
    assert induced_operators(weigh, prompts.xs, 3, 1.0, rng()).off_diagonal[0].ci == (0, 0)


def other_ys(prompts, seed=5):
    w = sampled(len(prompts), seed).w
    return torch.einsum("bnd,bd->bn", prompts.xs, w)


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
def test_filters_are_linear_in_y(learner):
    prompts = sampled()
    (by_point,) = linearity_in_y(alone(learner), prompts.xs, prompts.ys, other_ys(prompts))
    assert len(by_point) == 9 and by_point[0].ci == (0.0, 0.0)  # before the first point all is zero
    assert [found.value for found in by_point[1:]] == pytest.approx([1.0] * 8)


def test_what_is_not_linear_in_y_shows():
    prompts, other = sampled(400), None
    other = other_ys(prompts)

    def clipped(some):
        return LeastSquares().predict(some)[None].clamp(-0.5, 0.5)

    def constant(some):
        return torch.ones(1, len(some), some.n_points).double()

    (found,) = linearity_in_y(clipped, prompts.xs, prompts.ys, other)
    assert found[8].high < 0.9
    (found,) = linearity_in_y(constant, prompts.xs, prompts.ys, other)
    assert found[8].value == pytest.approx(1 - (2**0.5 - 1) ** 2)


def by_queries(predict):
    def weigh(prompts, point):
        return weights_by_queries(predict, prompts, point, antipodal_queries(prompts, rng(1))).weights

    return weigh


@pytest.mark.parametrize("learner", LEARNERS, ids=repr)
@pytest.mark.parametrize("point", [2, 6])
@pytest.mark.parametrize("w_std", [0.3, 1.0])
def test_the_operator_of_a_filter_is_its_response_on_the_diagonal(learner, point, w_std):
    prompts = sampled(20)
    found = induced_operators(by_queries(alone(learner)), prompts.xs, point, w_std, rng())
    S = prompts.xs[:, :point].mT @ prompts.xs[:, :point]
    torch.testing.assert_close(found.eigenvalues, torch.linalg.eigvalsh(S).clamp(min=0), atol=1e-12, rtol=1e-9)
    if not isinstance(learner, LeastSquares):
        scale = point if isinstance(learner, GradientDescent) else 1
        exact = torch.diag_embed(learner.response(found.eigenvalues / scale))
        torch.testing.assert_close(found.operators[0], exact, atol=1e-9, rtol=1e-7)
    assert found.off_diagonal[0].value == pytest.approx(0, abs=1e-9)


def test_the_operator_of_linear_self_attention_by_jacobian_and_by_queries():
    predict, prompts = reading(linear_model()), sampled(20)
    by_slope = induced_operators(lambda *given: weights_by_jacobian(predict, *given), prompts.xs, 8, 1.0, rng())
    asked = induced_operators(by_queries(predict), prompts.xs, 8, 1.0, rng())
    torch.testing.assert_close(by_slope.operators, asked.operators)
    # Random weights are no filter.
    assert by_slope.off_diagonal[-1].low > 0.1


def test_a_preconditioner_of_its_own_axes_is_off_the_diagonal():
    # One step of GD with A = diag(0, 1, 1, 1) does not commute with S.
    prompts, A = sampled(200), torch.diag(torch.tensor([0.0, 1, 1, 1])).double()

    def weigh(some, point):
        return 0.1 * torch.einsum("de,bne,bn->bd", A, some.xs[:, :point], some.ys[:, :point])[None]

    found = induced_operators(weigh, prompts.xs, 8, 1.0, rng()).off_diagonal[0]
    G = 0.1 * A @ prompts.xs[:, :8].mT @ prompts.xs[:, :8]
    U = torch.linalg.eigh(prompts.xs[:, :8].mT @ prompts.xs[:, :8]).eigenvectors
    squares = (U.mT @ G @ U).square()
    exact = 1 - squares.diagonal(dim1=1, dim2=2).sum() / squares.sum()
    assert found.low < exact < found.high and found.value == pytest.approx(exact.item())
    assert found.low > 0.02


@pytest.mark.parametrize(
    "call, complaint",
    [
        (lambda p: weights_by_queries(alone(Ridge(1.0)), p, 3, p.xs[:, :4]), "4 queries determine 4 weights"),
        (
            lambda p: weights_by_queries(alone(Ridge(1.0)), p, 3, p.xs[:, :1].expand(-1, 6, -1)),
            "queries of some prompt do not span all of x",
        ),
        (
            lambda p: weights_by_queries(alone(Ridge(1.0)), p, 9, antipodal_queries(p, rng())),
            r"point=9 of prompts with 9 points; expected 0 … n_points-1",
        ),
        (lambda p: weights_by_jacobian(alone(Ridge(1.0)), p, -1), "point=-1 of prompts with 9 points"),
        (
            lambda p: weights_by_jacobian(lambda some: some.ys[None].double(), p, 3),
            "cannot be differentiated; take weights_by_queries",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(call, complaint):
    with pytest.raises(MesascopeError, match=complaint):
        call(sampled())
