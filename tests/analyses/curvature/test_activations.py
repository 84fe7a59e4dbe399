import torch

from mesascope.analyses import attach
from mesascope.analyses.curvature.activations import context_updates, measure_updates
from mesascope.analyses.matching.matching import own_bases
from mesascope.models import HookedRegressor
from tests.analyses.curvature.planted import GAMMAS, N_DIMS, TASK, planted, rotation, with_updates


def measured(scope, n_prompts=200):
    return measure_updates(scope, own_bases(scope), n_prompts)


def test_every_gamma_of_exact_gd_plus_plus_is_found():
    updates = measured(planted())
    for gamma, update in zip(GAMMAS[:-1], updates.values(), strict=False):
        assert abs(update.gamma.value - gamma) < 1e-10
        assert abs(update.r2.value - 1) < 1e-10
        assert update.gamma.high - update.gamma.low < 1e-10


def test_the_slope_is_that_of_least_squares_over_all_tokens_of_all_prompts():
    scope = attach(HookedRegressor(planted().hooked.cfg, seed=3).double(), task=TASK)
    batches = [batch[0] for batch in context_updates(scope, own_bases(scope), 100)]
    x, dx = (torch.cat(parts) for parts in zip(*batches, strict=True))
    rows = torch.stack([-sum(torch.outer(x_i, x_i) for x_i in prompt) @ prompt.T / 12 for prompt in x]).mT
    A, b = rows.reshape(-1, 1), dx.reshape(-1)
    slope = torch.linalg.lstsq(A, b[:, None]).solution
    found = measured(scope, 100)[0]
    assert abs(found.gamma.value - slope.item()) < 1e-10
    assert abs(found.r2.value - (1 - (b - A[:, 0] * slope[0]).square().sum() / b.square().sum()).item()) < 1e-10
    assert abs(found.size.value - (dx.norm() / x.norm()).item()) < 1e-10


def test_another_prompts_s_explains_less():
    update = measured(planted())[0]
    assert update.shuffled.high < 0.95 * update.r2.low


def test_a_rotation_of_the_residual_stream_behind_a_read_in_changes_nothing():
    R = torch.block_diag(rotation(), torch.eye(1, dtype=torch.float64))
    plain, w0 = planted(), torch.zeros(N_DIMS)
    turned = planted(w0=w0)  # has a read-in
    with torch.no_grad():
        turned.hooked.embed.W_E.copy_(turned.hooked.embed.W_E @ R)
        for attention in turned.hooked.attentions:
            attention.qkv_weight.copy_(R.T @ attention.qkv_weight)
            attention.out_weight.copy_(attention.out_weight @ R)
    for one, other in zip(measured(plain).values(), measured(turned).values(), strict=True):
        assert abs(one.gamma.value - other.gamma.value) < 1e-10
        assert abs(one.r2.value - other.r2.value) < 1e-10
        assert abs(one.shuffled.value - other.shuffled.value) < 1e-10


def test_x_behind_a_read_in_that_mixes_y_in_is_still_found():
    update = measured(planted(w0=torch.tensor([0.5, -1.0, 0.25, 2.0])))[0]
    assert abs(update.gamma.value - GAMMAS[0]) < 1e-10
    assert abs(update.r2.value - 1) < 1e-10


def test_a_layer_that_leaves_x_alone_has_zeros_and_no_division():
    update = measured(planted(gammas=(0.0, 0.0, 0.0)))[0]
    assert update.gamma.ci == (0.0, 0.0)
    assert (update.r2.value, update.shuffled.value, update.size.value) == (0.0, 0.0, 0.0)


def test_an_update_that_turns_x_is_hardly_along_minus_s_x():
    update = measured(with_updates([rotation(), torch.zeros(N_DIMS, N_DIMS).double()]))[0]
    assert update.size.value > 0.1
    assert update.r2.high < 0.5


def test_numbers_beyond_all_bounds_are_not_finite():
    updates = measured(planted(etas=(1.0,) * 8, gammas=(1e40,) * 8))
    assert updates[0].finite
    assert not updates[7].finite
