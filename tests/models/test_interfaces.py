import torch
import torch.nn.functional as F

from mesascope.models.architecture import RegressorConfig
from mesascope.models.interfaces import AffineReadOut, LayerNorm, ReadIn, SlotReadOut


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
