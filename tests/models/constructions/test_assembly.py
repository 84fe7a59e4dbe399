import pytest
import torch

from mesascope.models import MesascopeError, RegressorConfig
from mesascope.models.constructions.assembly import Head, Layer, assemble, config
from tests.models.constructions.specimens import products

CFG = RegressorConfig.linear_self_attention(3, 5, 2, n_heads=2).model_copy(
    update={"d_mlp": (0, 3), "mlp_activation": "linear", "mlp_bias": False, "d_head": 3}
)


def product_of(*entries, value=0.1):
    out = torch.zeros(4, 4, dtype=torch.float64)
    for row, col in entries:
        out[row, col] = value
    return out


def test_heads_and_mlps_are_written_exactly_and_everything_else_is_zero():
    first = Head(product_of((0, 1), (0, 2), (3, 3)), product_of((1, 0), (2, 2), value=1 / 3))
    second = Head(product_of((2, 2)), product_of((3, 0)))
    mlp = product_of((0, 0), (1, 2), value=-0.7)
    model = assemble(CFG, [Layer([first, second]), Layer([second], mlp)], torch.float64)
    heads = [[first, second], [second, Head(product_of(), product_of())]]
    for layer, attention in enumerate(model.attentions):
        for index, head in enumerate(heads[layer]):
            QK, OV = products(attention)
            assert torch.equal(QK[index], head.QK) and torch.equal(OV[index], head.OV)
    assert torch.equal(model.weights["blocks.1.mlp.W_in"] @ model.weights["blocks.1.mlp.W_out"], mlp)


def test_a_product_that_reads_more_than_a_head_is_wide_is_a_mistake_of_ours():
    eye = torch.eye(4, dtype=torch.float64)
    with pytest.raises(AssertionError, match="a product that reads 4 entries in a width of 3"):
        assemble(CFG, [Layer([Head(eye, product_of())]), Layer([])], torch.float64)


def test_interfaces_are_written_by_name():
    cfg = RegressorConfig.model_validate(CFG.model_dump() | dict(read_in="affine"))
    W_E = torch.arange(16, dtype=torch.float64).view(4, 4)
    model = assemble(cfg, [Layer([]), Layer([])], torch.float32, {"embed.W_E": W_E})
    assert torch.equal(model.embed.W_E, W_E.float()) and (model.embed.b_E == 0).all()
    assert all((weight == 0).all() for name, weight in model.weights.items() if name != "embed.W_E")


def test_an_impossible_config_is_one_line():
    with pytest.raises(MesascopeError, match=r"^n_layers: Input should be less than or equal to 1000 \(got 1001\)$"):
        config(n_dims=3, n_points=5, n_layers=1001, d_model=4)
    assert config(RegressorConfig.linear_self_attention, n_dims=3, n_points=5, n_layers=2).d_model == 4
