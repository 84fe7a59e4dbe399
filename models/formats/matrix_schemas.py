"""The schemas of an .npz file of plain matrices; `matrices.py` says what they hold. A new one is a reader and a row."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from transformer_lens import FactoredMatrix

from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError, nearest

FACTORS, PRODUCTS = ("W_Q", "W_K", "W_V", "P"), ("W_KQ", "W_PV")
_HAIKU = re.compile(r"(?P<module>.+)/(?P<map>query|key|value|linear)/w")
_HAIKU_LAYER = re.compile(r"(.*/)?(multi_head_attention|layer_(?P<layer>0|[1-9]\d{0,5}))")

Arrays = Mapping[str, Tensor]
"""What the file holds by name, float64."""


class Settings(Config):
    """The single numbers and words of a file."""

    convention: Literal["columns", "rows"] | None = None
    n_points: int | None = Field(None, ge=2)
    n_dims: int | None = Field(None, ge=1)
    n_layers: int | None = Field(None, ge=1, le=10_000)
    n_heads: int | None = Field(None, ge=1)
    tied: bool = False
    w_std: float | None = Field(None, gt=1e-9, lt=1e9)
    half_width: float | None = Field(None, gt=0)
    damping: float = Field(1.0, gt=0)
    clip: float | None = Field(None, gt=0)


@dataclass(frozen=True)
class Maps:
    """Every head's maps, on row vectors and in TransformerLens' shapes."""

    W_Q: Float[Tensor, "n_layers n_heads D d_head"]
    W_K: Float[Tensor, "n_layers n_heads D d_head"]
    W_V: Float[Tensor, "n_layers n_heads D d_head"]
    W_O: Float[Tensor, "n_layers n_heads d_head D"]
    tied: bool = False


def _from_factors(arrays: Arrays, settings: Settings) -> Maps:
    rows = settings.convention == "rows"
    Q, K, V, P = (_stacked(name, arrays[name], settings) for name in FACTORS)
    W_Q, W_K, W_V, W_O = (Q, K, V, P) if rows else (Q.mT, K.mT, V.mT, P.mT)
    (D, d_key), (d_value, width) = W_Q.shape[2:], W_O.shape[2:]
    if not (
        len({w.shape[:2] for w in (W_Q, W_K, W_V, W_O)}) == 1
        and W_K.shape == W_Q.shape
        and W_V.shape[2:] == (D, d_value)
        and width == D
    ):
        wanted = "D × d_key, W_V D × d_value, P d_value × D" if rows else "d_key × D, W_V d_value × D, P D × d_value"
        convention = "rows" if rows else "columns"
        raise _misfit(arrays, f"in the convention {convention!r} W_Q and W_K {wanted} in every layer and head")
    if settings.convention is None and max(d_key, d_value) > D:
        raise MesascopeError(
            f"W_Q {_shape(arrays['W_Q'])} would be heads wider (d_key={d_key}, d_value={d_value}) than tokens (D={D}); "
            "say which with convention='columns' or convention='rows'"
        )
    return _padded(W_Q, W_K, W_V, W_O, settings.tied)


def _from_products(arrays: Arrays, settings: Settings) -> Maps:
    KQ, PV = (_stacked(name, arrays[name], settings) for name in PRODUCTS)
    if KQ.shape != PV.shape or KQ.shape[2] != KQ.shape[3]:
        raise _misfit(arrays, "both D × D in every layer and head")
    if settings.convention == "rows":
        KQ, PV = KQ.mT, PV.mT
    return _factored(KQ, PV, settings.tied)


def _from_allparam(arrays: Arrays, settings: Settings) -> Maps:
    """Ahn et al. (2023): Z ← Z + (1/N) Σ_heads (Z Q Zᵀ) A Z diag(P, 1)ᵀ on tokens in rows, A without the query."""
    allparam = arrays["allparam"]
    if allparam.ndim != 5 or allparam.shape[2] != 2 or allparam.shape[3] != allparam.shape[4]:
        raise _misfit(arrays, "[n_layers, n_heads, 2, n_dims, n_dims]")
    if settings.convention is not None:
        raise MesascopeError("allparam has a convention of its own; leave `convention` out")
    if settings.n_points is None:
        raise MesascopeError("lacks n_points (context and query), by which allparam's attention is divided; add it")
    P, Q = F.pad(allparam[:, :, 0], (0, 1, 0, 1)), F.pad(allparam[:, :, 1], (0, 1, 0, 1))
    P[..., -1, -1] = 1
    return _factored(Q.mT, P / (settings.n_points - 1), settings.tied)


def _from_haiku(arrays: Arrays, settings: Settings) -> Maps:
    """Von Oswald et al.'s code: maps act on rows, all heads side by side, `linear` is P."""
    if settings.convention is not None:
        raise MesascopeError("haiku's parameters act on rows; leave `convention` out")
    layers: dict[str, dict[str, Tensor]] = {}
    for name, array in arrays.items():
        match = _HAIKU.fullmatch(name)
        if match is None or _HAIKU_LAYER.fullmatch(match["module"]) is None or array.ndim != 2:
            raise MesascopeError(
                f"{name} {_shape(array)} is no part of plain linear self-attention; expected 2-D MODULE/query/w, key, "
                "value and linear, without biases, norms, MLPs or embeddings, of multi_head_attention or layer_0, …"
            )
        layers.setdefault(match["module"], {})[match["map"]] = array
    numbers = {module: _HAIKU_LAYER.fullmatch(module)["layer"] for module in layers}  # type: ignore[index]
    tied = None in numbers.values()
    ordered = sorted(layers, key=lambda module: int(numbers[module] or 0))
    if [numbers[module] for module in ordered] != ([None] if tied else [str(layer) for layer in range(len(layers))]):
        raise MesascopeError(
            f"holds the modules {', '.join(sorted(layers)[:6])}; expected one multi_head_attention, or "
            "layer_0, layer_1, … of one network"
        )
    heads = settings.n_heads or 1
    maps = [_haiku_layer(module, layers[module], heads, settings.n_heads is None) for module in ordered]
    if len({tuple(w.shape for w in layer) for layer in maps}) != 1:
        raise _misfit(arrays, "the same widths in every layer")
    W_Q, W_K, W_V, W_O = (torch.stack(w) for w in zip(*maps, strict=True))
    return _padded(W_Q, W_K, W_V, W_O, tied or settings.tied)


def _haiku_layer(module: str, maps: Arrays, n_heads: int, guessed: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    lacking = [name for name in ("query", "key", "value", "linear") if name not in maps]
    if lacking:
        raise MesascopeError(f"{module} lacks {lacking[0]}/w; save all four of query, key, value and linear")
    query, key, value, linear = (maps[name] for name in ("query", "key", "value", "linear"))
    D = len(query)
    fits = query.shape == key.shape and value.shape == (D, len(linear)) and linear.shape[1] == D
    if not fits or query.shape[1] % n_heads or value.shape[1] % n_heads:
        raise _misfit(
            maps,
            f"query and key D × n_heads·d_key, value D × n_heads·d_value, linear its transpose's shape, "
            f"with n_heads={n_heads}",
        )
    if guessed and query.shape[1] != D:
        raise MesascopeError(
            f"{module}/query/w {_shape(query)} is not square, so it may hold several heads; add n_heads"
        )
    W_Q, W_K, W_V = (w.unflatten(1, (n_heads, -1)).transpose(0, 1) for w in (query, key, value))
    return W_Q, W_K, W_V, linear.unflatten(0, (n_heads, -1))


def _stacked(name: str, array: Tensor, settings: Settings) -> Float[Tensor, "n_layers n_heads rows cols"]:
    if array.ndim == 2:
        return array[None, None]
    if array.ndim == 4:
        return array
    if array.ndim == 3:
        n_layers = 1 if settings.tied else settings.n_layers
        of_layers = n_layers == len(array) and settings.n_heads in (None, 1)
        of_heads = settings.n_heads == len(array) and n_layers in (None, 1)
        if len(array) == 1 or of_layers or of_heads:
            return array[None] if of_heads else array[:, None]
        raise MesascopeError(
            f"{name} {_shape(array)} is 3-D: add n_layers={len(array)} or n_heads={len(array)} to say what its first "
            "axis is, or save [n_layers, n_heads, rows, cols]"
        )
    raise MesascopeError(f"{name} has shape {_shape(array)}; expected [n_layers, n_heads, rows, cols]")


def _padded(W_Q: Tensor, W_K: Tensor, W_V: Tensor, W_O: Tensor, tied: bool) -> Maps:
    """Bring keys and values to one width; the zeros add nothing."""
    d_key, d_value = W_Q.shape[-1], W_V.shape[-1]
    more_key, more_value = max(d_value - d_key, 0), max(d_key - d_value, 0)
    return Maps(
        F.pad(W_Q, (0, more_key)),
        F.pad(W_K, (0, more_key)),
        F.pad(W_V, (0, more_value)),
        F.pad(W_O, (0, 0, 0, more_value)),
        tied,
    )


def _factored(KQ: Tensor, PV: Tensor, tied: bool) -> Maps:
    """Split products on columns into maps on rows: W_Q W_Kᵀ = KQᵀ and W_V W_O = PVᵀ, each pair balanced."""
    QK, OV = (FactoredMatrix(product.mT, torch.eye(product.shape[-1]).to(product)).make_even() for product in (KQ, PV))
    return Maps(QK.A, QK.B.mT, OV.A, OV.B, tied)


SCHEMAS: dict[tuple[str, ...], Callable[[Arrays, Settings], Maps]] = {
    FACTORS: _from_factors,
    PRODUCTS: _from_products,
    ("allparam",): _from_allparam,
}
"""Readers by the arrays that they need; haiku's names vary."""


def read_maps(arrays: Arrays, settings: Settings) -> Maps:
    """The maps of every head, by whichever schema has these names.

    Raises:
        MesascopeError: None has all of them and no other (an array that nobody reads might matter), or the arrays do
            not fit together.
    """
    names = set(arrays)
    if any("/" in name for name in names):
        return _from_haiku(arrays, settings)
    for schema, reader in SCHEMAS.items():
        if names == set(schema):
            return reader(arrays, settings)
    closest = max(SCHEMAS, key=lambda schema: len(names & set(schema)))
    known = {*Settings.model_fields, *closest}
    if names & set(closest):
        missing, odd = [n for n in closest if n not in names], sorted(names - set(closest))
        what = [f"lacks {', '.join(missing)}"] if missing else []
        what += [f"holds an unknown {odd[0]!r}{nearest(odd[0], known)}"] if odd else []
        raise MesascopeError(f"{' and '.join(what)}; expected {', '.join(closest)} and nothing else but settings")
    raise MesascopeError(
        f"holds {', '.join(sorted(names)[:6]) or 'no arrays'}; expected the arrays W_Q, W_K, W_V, P, or W_KQ, W_PV, or "
        "allparam, or haiku's MODULE/query/w and its fellows"
    )


def _misfit(arrays: Arrays, wanted: str) -> MesascopeError:
    shapes = ", ".join(f"{name} {_shape(array)}" for name, array in list(arrays.items())[:6])
    return MesascopeError(f"{shapes} do not fit together; expected {wanted}")


def _shape(array: Tensor) -> str:
    return str(tuple(array.shape))
