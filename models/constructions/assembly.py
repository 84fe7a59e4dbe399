"""From heads, given by the two products that a head is, to a model that runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from pydantic import ValidationError
from torch import Tensor

from mesascope.models.architecture import RegressorConfig
from mesascope.models.blocks import MLP
from mesascope.models.constructions.residual_stream import Map
from mesascope.models.errors import MesascopeError, first_complaint
from mesascope.models.regressor import HookedRegressor

BARE: dict[str, Any] = dict(
    causal=False, query_is_key=False, layer_norm=False, positions="none", attention_bias=False, mlp_bias=False
)
"""What most constructions leave out: mask, norms, positions and biases; the query asks and is no example."""


@dataclass(frozen=True)
class Head:
    """A head is only its two products; on row vectors, a query h_q gains Σ_j (h_q QK h_jᵀ) h_j OV."""

    QK: Map
    """W_Q W_Kᵀ."""
    OV: Map
    """W_V W_O."""


@dataclass(frozen=True)
class Layer:
    """Some heads, and then a linear MLP if there is one."""

    heads: Sequence[Head]
    mlp: Map | None = None
    """W_in W_out."""


def config(make: Callable[..., RegressorConfig] = RegressorConfig, **fields: Any) -> RegressorConfig:
    """A config, or a line that says what is wrong with it.

    Raises:
        MesascopeError: The fields do not make a config.
    """
    try:
        return make(**fields)
    except ValidationError as error:
        raise MesascopeError(first_complaint(error)) from error


@torch.no_grad()
def assemble(
    cfg: RegressorConfig, layers: Sequence[Layer], dtype: torch.dtype, interfaces: Mapping[str, Map] | None = None
) -> HookedRegressor:
    """The model of these layers, all other weights zero; written in float64 and then cast.

    Args:
        cfg: The architecture, with as many layers, and heads enough and wide enough.
        layers: Its layers.
        dtype: Of its weights.
        interfaces: Weights outside the layers by name, such as "embed.W_E".
    """
    model = HookedRegressor(cfg).double()
    for parameter in model.parameters():
        parameter.zero_()
    for name, weight in (interfaces or {}).items():
        model.get_parameter(name).copy_(weight)
    for block, attention, layer in zip(model.blocks, model.attentions, layers, strict=True):
        for index, head in enumerate(layer.heads):
            _factor(head.QK, attention.W_Q[index], attention.W_K[index].T)
            _factor(head.OV, attention.W_V[index], attention.W_O[index])
        if layer.mlp is not None:
            mlp = cast(MLP, block.mlp)
            _factor(layer.mlp, mlp.W_in, mlp.W_out)
    return model.to(dtype)


def _factor(product: Map, left: Tensor, right: Tensor) -> None:
    """Write product = left right: `left` picks the entries that it reads, `right` says what becomes of each.

    Exact, which an SVD is not; it needs a width of as many entries as are read, mostly the rank.
    """
    (read,) = product.any(dim=1).nonzero(as_tuple=True)
    assert len(read) <= left.shape[1], f"a product that reads {len(read)} entries in a width of {left.shape[1]}"
    left[read, torch.arange(len(read))] = 1
    right[: len(read)] = product[read]
