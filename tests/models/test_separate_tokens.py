"""x and y of a point in neighbouring tokens, with a position code beside them."""

import torch

from mesascope.models import HookedRegressor, LinearRegression, RegressorConfig

PROMPTS = LinearRegression(n_dims=3, n_points=6).sample(5, seed=0, dtype=torch.float64)
SEPARATE = RegressorConfig(
    n_dims=3,
    n_points=6,
    n_layers=2,
    d_model=8,
    layout="separate",
    attention=("softmax", "linear"),
    causal=False,
    query_is_key=False,
    layer_norm=False,
    read_in="slots",
    read_out="slots",
    positions="sinusoidal",
    d_position=4,
    attention_bias=False,
)


def test_separate_tokens_predict_from_the_y_slot_and_not_from_the_code_beside_it():
    model = HookedRegressor(SEPARATE).double()
    preds, cache = model.run_with_cache(PROMPTS.xs, PROMPTS.ys)
    resid = cache["resid_post", 1]
    assert resid.shape == (5, 11, 8) and SEPARATE.y_slot == 3
    assert torch.equal(preds, -resid[:, 10:, 3]) and not torch.allclose(preds, -resid[:, 10:, 7])


def test_separate_tokens_notice_the_order_of_points_by_their_code():
    model = HookedRegressor(SEPARATE).double()
    order = torch.tensor([3, 0, 4, 2, 1, 5])
    shuffled = model(PROMPTS.xs[:, order], PROMPTS.ys[:, order])
    assert not torch.allclose(shuffled, model(PROMPTS.xs, PROMPTS.ys))


def test_separate_tokens_can_copy_the_neighbour_and_then_take_a_gradient_step():
    """Von Oswald et al. (2023), section 5, constructed: y's token fetches x from the one before it, then attends."""
    eta, sharpness = 0.7, 300.0
    cfg = SEPARATE.model_copy(update={"d_head": 8, "d_position": 8, "d_model": 12})
    model = HookedRegressor(cfg).double()
    copy, step = model.attentions
    # One step back turns every pair (sin, cos) of the code by its rate.
    rates = 10_000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    back = torch.block_diag(*(torch.tensor([[r.cos(), r.sin()], [-r.sin(), r.cos()]]) for r in rates)).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        copy.W_Q[0, 4:] = sharpness * back
        copy.W_K[0, 4:] = torch.eye(8).double()
        copy.W_V[0, :3, :3] = torch.eye(3).double()
        copy.W_O[0, :3, :3] = torch.eye(3).double()
        step.W_Q[0, :3, :3] = step.W_K[0, :3, :3] = torch.eye(3).double()
        step.W_V[0, 3, 3] = 1
        step.W_O[0, 3, 3] = -eta / 5
    _, cache = model.run_with_cache(PROMPTS.xs, PROMPTS.ys)
    assert (cache["pattern", 0][:, 0].diagonal(offset=-1, dim1=-2, dim2=-1)[:, :9] > 0.99).all()
    # Up to what the softmax leaves elsewhere the context tokens of y hold (x_i, y_i). The query's neighbour is y's
    # token without x, so its own x stays.
    moments = torch.einsum("bi,bid->bd", PROMPTS.ys[:, :-1], PROMPTS.xs[:, :-1]) / 5
    expected = eta * torch.einsum("bd,bd->b", moments, PROMPTS.xs[:, -1])
    torch.testing.assert_close(model(PROMPTS.xs, PROMPTS.ys)[:, 0], expected, rtol=1e-6, atol=1e-6)
