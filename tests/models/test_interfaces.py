import math

import pytest
import torch
import torch.nn.functional as F

from mesascope.models.architecture import RegressorConfig
from mesascope.models.interfaces import AffineReadOut, LayerNorm, ReadIn, SlotReadOut, sinusoidal_code


def norm():
    layer = LayerNorm(6)
    torch.nn.init.normal_(layer.w)
    torch.nn.init.normal_(layer.b)
    return layer.double()


def test_layer_norm_is_pytorchs_whether_or_not_its_scale_is_listened_to():
    layer, resid = norm(), 3 + torch.randn(2, 4, 6, dtype=torch.float64)
    expected = F.layer_norm(resid, (6,), layer.w, layer.b)
    torch.testing.assert_close(layer(resid), expected)
    seen = []
    layer.hook_scale.register_forward_hook(lambda module, args, output: seen.append(output))
    torch.testing.assert_close(layer(resid), expected)
    # eps joins the biased variance under the root
    torch.testing.assert_close(seen[0], (resid.var(-1, correction=0, keepdim=True) + 1e-5).sqrt())


def test_freezing_the_scale_makes_layer_norm_linear():
    layer, resid = norm(), torch.randn(2, 4, 6, dtype=torch.float64)
    layer.hook_scale.register_forward_hook(lambda module, args, output: torch.ones_like(output))
    torch.testing.assert_close(layer(2 * resid) - layer.b, 2 * (layer(resid) - layer.b))


def test_read_in_is_affine_plus_position_also_for_shorter_prompts():
    layer = ReadIn(RegressorConfig(n_dims=3, n_points=4, n_layers=1, d_model=5))
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    tokens = torch.randn(2, 6, 3)
    torch.testing.assert_close(layer(tokens), tokens @ layer.W_E + layer.b_E + layer.W_pos[:6])


def test_read_out_is_affine():
    layer = AffineReadOut(5, 1)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    resid = torch.randn(2, 4, 5)
    torch.testing.assert_close(layer(resid), (resid @ layer.W_U)[..., 0] + layer.b_U)


def test_the_slot_read_out_is_minus_its_slot():
    resid = torch.randn(2, 4, 5)
    assert torch.equal(SlotReadOut(3)(resid), -resid[..., 3])
    assert torch.equal(SlotReadOut(2, 3)(resid), -resid[..., 2:5])


@pytest.mark.parametrize("width", [1, 2, 5, 10])
def test_the_sinusoidal_code_is_its_formula(width):
    code = sinusoidal_code(7, width, torch.device("cpu"), torch.float64)
    for t in range(7):
        for column in range(width):
            angle = t / 10_000 ** ((column - column % 2) / width)
            expected = math.sin(angle) if column % 2 == 0 else math.cos(angle)
            assert code[t, column].item() == pytest.approx(expected, abs=1e-12)


def test_a_position_has_the_same_code_in_a_longer_prompt_and_no_two_positions_share_one():
    short, long = (sinusoidal_code(n, 10, torch.device("cpu"), torch.float64) for n in (5, 50))
    assert torch.equal(long[:5], short)
    distances = torch.cdist(long, long) + torch.eye(50)
    assert distances.min() > 1e-3


@pytest.mark.parametrize("read_in", ["affine", "slots"])
def test_a_sinusoidal_code_stands_beside_the_token_also_in_prompts_longer_than_announced(read_in):
    cfg = RegressorConfig(
        n_dims=3,
        n_points=4,
        n_layers=1,
        d_model=10 if read_in == "affine" else 7,
        positions="sinusoidal",
        d_position=4,
        read_in=read_in,
    )
    layer = ReadIn(cfg)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    tokens = torch.randn(2, 30, 3)
    embed = tokens @ layer.W_E + layer.b_E if read_in == "affine" else tokens
    code = sinusoidal_code(30, 4, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(layer(tokens), torch.cat([embed, code.expand(2, -1, -1)], dim=-1))


def test_without_map_or_positions_the_tokens_are_the_residual_stream():
    layer = ReadIn(RegressorConfig(n_dims=3, n_points=4, n_layers=1, d_model=3, read_in="slots", positions="none"))
    tokens = torch.randn(2, 6, 3)
    assert layer(tokens) is tokens and list(layer.parameters()) == []


def test_a_read_out_of_several_numbers_keeps_their_axis():
    layer = AffineReadOut(5, 3)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    resid = torch.randn(2, 4, 5)
    torch.testing.assert_close(layer(resid), resid @ layer.W_U + layer.b_U)
