import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression as SkLeastSquares
from sklearn.linear_model import Ridge as SkRidge
from sklearn.metrics import r2_score

from mesascope.probes import LinearReadout, Moments, choose_alpha
from mesascope.probes.readout import ALPHAS


def made(
    n: int, singular: torch.Tensor, d_y: int = 2, noise: float = 0.1, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Off-centre features whose covariance has the given singular values, and noisy linear targets."""
    rng = torch.Generator().manual_seed(seed)
    d = len(singular)
    basis = torch.linalg.qr(torch.randn(d, d, generator=rng, dtype=torch.float64))[0]
    resid = (torch.randn(n, d, generator=rng, dtype=torch.float64) * singular) @ basis.T + 1
    y = resid @ torch.randn(d, d_y, generator=rng, dtype=torch.float64)
    return resid, y + noise * torch.randn(n, d_y, generator=rng, dtype=torch.float64)


def sk_ridge(resid: torch.Tensor, y: torch.Tensor, alpha: float) -> SkRidge:
    centred = resid - resid.mean(0)
    penalty = alpha * centred.square().sum().item() / resid.shape[1]
    return SkRidge(alpha=penalty, solver="svd").fit(resid.numpy(), y.numpy())


@pytest.mark.parametrize("condition", [1.0, 30.0, 1e3])
@pytest.mark.parametrize("alpha", [1e-6, 1e-1])
def test_coefficients_equal_scikit_learns(condition, alpha):
    resid, y = made(500, torch.logspace(0, -np.log10(condition), 12, dtype=torch.float64))
    ours, theirs = LinearReadout(alpha).fit(resid, y), sk_ridge(resid, y, alpha)
    scale = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(ours.coef_.T.numpy(), theirs.coef_, atol=1e-8 * scale)
    np.testing.assert_allclose(ours.intercept_.numpy(), theirs.intercept_, atol=1e-7 * scale)


def test_predictions_equal_scikit_learns_on_rank_deficient_residuals():
    # Rank 5 in 48, as early layers are: coefficients in the null space are free, predictions are not.
    singular = torch.zeros(48).double()
    singular[:5] = 1
    resid, y = made(400, singular)
    fresh = made(100, singular)[0]
    ours, theirs = LinearReadout().fit(resid, y).predict(fresh), sk_ridge(resid, y, 1e-6).predict(fresh.numpy())
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


def test_float64_moments_keep_what_float32_normal_equations_lose():
    resid, y = made(4000, torch.logspace(0, -5, 8, dtype=torch.float64), noise=0.0)
    y = y / y.std(0)
    # The target needs every direction: rotate it onto the whitened features.
    y = torch.linalg.svd(resid - resid.mean(0), full_matrices=False)[0].sum(1, keepdim=True)
    exact = SkLeastSquares().fit(resid.numpy(), y.numpy()).predict(resid.numpy())
    ours = LinearReadout(1e-13).fit(resid, y)
    assert ours.score(resid, y) > 0.999
    np.testing.assert_allclose(ours.predict(resid).numpy(), exact, atol=0.02 * y.std().item())

    h, t = (resid - resid.mean(0)).float(), (y - y.mean(0)).float()
    S = h.T @ h
    lost = torch.linalg.lstsq(S + 1e-13 * S.trace() / 8 * torch.eye(8), h.T @ t).solution
    assert r2_score(t.numpy(), (h @ lost).numpy()) < 0.9


def test_fit_forgets_and_partial_fit_continues():
    singular = torch.ones(6).double()
    first, second = made(100, singular, seed=1), made(150, singular, seed=2)
    both = [torch.cat(pair) for pair in zip(first, second, strict=True)]
    forgot = LinearReadout().fit(*first).fit(*second)
    torch.testing.assert_close(forgot.coef_, LinearReadout().fit(*second).coef_)
    continued = LinearReadout().partial_fit(*first).partial_fit(*second)
    torch.testing.assert_close(continued.coef_, LinearReadout().fit(*both).coef_)
    torch.testing.assert_close(continued.intercept_, LinearReadout().fit(*both).intercept_)


def test_alpha_is_free_of_scale_and_of_the_number_of_samples():
    resid, y = made(200, torch.ones(6).double())
    once = LinearReadout(0.1).fit(resid, y).coef_
    torch.testing.assert_close(LinearReadout(0.1).fit(torch.cat([resid, resid]), torch.cat([y, y])).coef_, once)
    torch.testing.assert_close(100 * LinearReadout(0.1).fit(100 * resid, y).coef_, once)


def test_the_intercept_is_not_penalised():
    resid, y = made(200, torch.ones(6).double())
    shifted = LinearReadout(1.0).fit(resid + 50, y + 1000)
    torch.testing.assert_close(shifted.predict(resid + 50), LinearReadout(1.0).fit(resid, y).predict(resid) + 1000)


def test_more_penalty_means_smaller_coefficients():
    resid, y = made(200, torch.ones(6).double())
    norms = [LinearReadout(alpha).fit(resid, y).coef_.norm().item() for alpha in (1e-6, 1e-2, 1.0, 100.0)]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.02 * norms[0]


def test_score_is_scikit_learns_r2():
    resid, y = made(300, torch.ones(6).double(), noise=2.0)
    readout = LinearReadout().fit(resid[:200], y[:200])
    expected = r2_score(y[200:].numpy(), readout.predict(resid[200:]).numpy())
    assert readout.score(resid[200:], y[200:]) == pytest.approx(expected, rel=1e-12)


def test_a_shuffled_target_is_not_predicted():
    resid, y = made(4000, torch.ones(6).double())
    readout = LinearReadout().fit(resid[:2000], y[:2000].roll(1, 0))
    assert LinearReadout().fit(resid[:2000], y[:2000]).score(resid[2000:], y[2000:]) > 0.99
    # Fitting noise costs d/n = .003 of R².
    assert -0.02 < readout.score(resid[2000:], y[2000:].roll(1, 0)) < 0.005


def test_float32_activations_are_predicted_in_float64():
    resid, y = made(200, torch.ones(6).double())
    readout = LinearReadout().fit(resid.float(), y.float())
    assert readout.predict(resid.float().view(2, 100, 6)).dtype == torch.float64
    assert readout.predict(resid.float().view(2, 100, 6)).shape == (2, 100, 2)


def test_collinear_features_without_penalty_are_refused():
    resid, y = made(200, torch.ones(3).double())
    with pytest.raises(ValueError, match=r"singular: n=200 samples, d_model=6, alpha=0.0\. Use more prompts or a larg"):
        LinearReadout(0.0).fit(torch.cat([resid, torch.zeros_like(resid)], dim=1), y)


@pytest.mark.parametrize("constant", [0.0, 3.7])
def test_activations_that_do_not_vary_predict_the_mean(constant):
    y = torch.randn(40, 2).double()
    resid = torch.full((40, 3), constant)
    readout = LinearReadout(1e-12).fit(resid, y)
    torch.testing.assert_close(readout.predict(resid), y.mean(0).expand(40, 2))
    blocks = Moments.of(resid.view(4, 10, 3), y.view(4, 10, 2))
    assert choose_alpha(blocks) in ALPHAS


def test_no_sample_is_refused():
    with pytest.raises(ValueError, match="n=0 samples"):
        LinearReadout().fit(torch.zeros(0, 3), torch.zeros(0, 1))


def test_a_failed_fit_leaves_the_readout_as_it_was():
    resid, y = made(200, torch.ones(3).double())
    readout = LinearReadout(0.0).fit(resid, y)
    with pytest.raises(ValueError, match="singular"):
        readout.fit(torch.cat([torch.randn(10, 2), torch.zeros(10, 1)], 1), torch.zeros(10, 2))
    torch.testing.assert_close(readout.coef_, LinearReadout(0.0).fit(resid, y).coef_)


def test_predicting_before_fitting_is_refused():
    with pytest.raises(ValueError, match="not fitted; call fit or partial_fit first"):
        LinearReadout().predict(torch.zeros(2, 3))


def test_another_width_is_refused():
    resid, y = made(200, torch.ones(6).double())
    readout = LinearReadout().fit(resid, y)
    with pytest.raises(ValueError, match=r"d_model=5 but the readout was fitted on 6; capture the same layer width"):
        readout.predict(resid[:, :5])
    with pytest.raises(ValueError, match="do not fit moments"):
        readout.partial_fit(resid[:, :5], y)


def blocks_of(resid: torch.Tensor, y: torch.Tensor, n_blocks: int) -> Moments:
    return Moments.of(resid.unflatten(0, (n_blocks, -1)), y.unflatten(0, (n_blocks, -1)))


@pytest.mark.parametrize("target", [0, 1])
def test_chosen_alpha_has_the_least_error_on_held_out_blocks(target):
    resid, y = made(80, torch.logspace(0, -1, 30).double(), noise=1.0)
    alphas, errors = (1e-6, 1e-3, 1e-2, 1e-1, 1.0), []
    for alpha in alphas:
        held_out = 0.0
        for block in range(4):
            inside = torch.arange(80) // 20 == block
            fitted = sk_ridge(resid[~inside], y[~inside], alpha).predict(resid[inside].numpy())
            held_out += ((fitted - y[inside].numpy())[:, target] ** 2).sum()
        errors.append(held_out)
    assert choose_alpha(blocks_of(resid, y, 4), target, alphas) == alphas[int(np.argmin(errors))]


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
def test_chosen_alpha_is_nearly_as_good_as_the_best_on_fresh_data(noise):
    singular = torch.logspace(0, -1, 30).double()
    resid, y = made(2080, singular, d_y=1, noise=noise)
    train = (resid[:80], y[:80])
    scores = {alpha: LinearReadout(alpha).fit(*train).score(resid[80:], y[80:]) for alpha in ALPHAS}
    chosen = choose_alpha(blocks_of(*train, 4))
    assert chosen in ALPHAS
    assert 1 - scores[chosen] <= 1.2 * (1 - max(scores.values())) + 1e-9


def test_noise_asks_for_more_penalty():
    singular = torch.logspace(0, -1, 30).double()
    data = [made(80, singular, d_y=1, noise=noise) for noise in (0.0, 3.0)]
    chosen = [choose_alpha(blocks_of(resid, y, 4)) for resid, y in data]
    assert chosen[0] <= 1e-9 < 1e-3 <= chosen[1]
