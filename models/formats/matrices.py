"""Plain matrices of linear self-attention, in an `.npz` file as `numpy.savez` writes it.

The model is von Oswald et al.'s (2023): tokens (x_i, y_i) of D = n_dims+1 entries are the residual stream, the query
is (x_q, 0) and no key, and a layer adds, on column vectors, summed over heads and the n_points-1 tokens of context,

    h ← h + damping · Σ_heads Σ_j P V h_j (K h_j)·(Q h),        prediction = minus the last entry of the query's token.

It is a sum, not a mean: a factor 1/n stands in the matrices. One of these holds the weights, float or integer:

    W_Q, W_K, W_V, P    [n_layers, n_heads, rows, cols]: Q and K (d_key x D), V (d_value x D), P (D x d_value)
    W_KQ, W_PV          [n_layers, n_heads, D, D]: KᵀQ and PV, so that a layer is Σ_j W_PV h_j (h_jᵀ W_KQ h)
    allparam            [n_layers, n_heads, 2, n_dims, n_dims]: (P, Q) as Ahn et al.'s (2023) code holds them
    MODULE/{query,key,value,linear}/w    haiku's parameters, as von Oswald et al.'s code holds them

and these say more, each a single number or word:

    convention    "columns" (as above), or "rows" for W_Q … W_PV that act on row vectors (all transposed, as in
                  TransformerLens); to be given if d_key or d_value > D
    n_points      points of a prompt, the query among them; with allparam, whose code divides by the context's length,
                  it must be given, else it is n_dims+1 (von Oswald et al.'s n = d)
    n_layers      how often one tied layer is applied; elsewhere, as n_heads and n_dims, only checked
    n_heads       haiku's layers have one head unless it says otherwise
    tied          whether one layer is applied n_layers times; haiku's `multi_head_attention` always is
    w_std, half_width    the task: w ~ N(0, w_std² I), and x ~ U(-half_width, half_width) instead of N(0, I)
    damping, clip        factor on, and bound after, what a layer adds

A 2-D array is one layer with one head; of a 3-D one n_layers or n_heads must say which its first axis is. haiku's come
from `np.savez(path, **{f"{module}/{name}": w for module, ws in params.items() for name, w in ws.items()})`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import ValidationError

from mesascope.models.architecture import RegressorConfig
from mesascope.models.errors import MesascopeError, first_complaint
from mesascope.models.formats.checkpoint import Checkpoint, Format
from mesascope.models.formats.matrix_schemas import Arrays, Maps, Settings, read_maps
from mesascope.models.inputs import Gaussian, Uniform
from mesascope.models.regressor import HookedRegressor
from mesascope.models.tasks import LinearRegression


class MatricesFormat(Format):
    """An .npz file of plain matrices."""

    name: ClassVar[str] = "matrices"
    expected: ClassVar[str] = "an .npz file of plain matrices"

    def recognises(self, path: Path) -> bool:
        """A file by its suffix."""
        return path.suffix == ".npz" and path.is_file()

    def load(self, path: Path, w_std: float | None) -> Checkpoint:
        """Read a file.

        Raises:
            MesascopeError: It is broken, holds objects or numbers that are not finite, or its arrays are not those of
                one of the schemas, or do not fit together.
        """
        try:
            arrays, settings = _split(_read(path))
            maps = read_maps(arrays, settings)
            model = _model(maps, settings)
        except MesascopeError as error:
            raise MesascopeError(f"{path}: {' '.join(str(error).split())}") from error  # names may break lines
        cfg, scale = model.cfg, settings.w_std if w_std is None else w_std
        task = LinearRegression(
            n_dims=cfg.n_dims,
            n_points=cfg.n_points,
            w_std=1.0 if scale is None else scale,
            inputs=Gaussian() if settings.half_width is None else Uniform(half_width=settings.half_width),
        )
        assumed = f"n_points={cfg.n_points} was assumed, the file does not say." if settings.n_points is None else ""
        known = w_std is None and settings.w_std is not None
        return Checkpoint(model, task, str(path), self.name, seed=None, w_std_known=known, about=assumed)


def _read(path: Path) -> dict[str, Any]:
    """Every array of the file; numpy is told to execute nothing."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except Exception as error:  # zip, zlib, the header's parser and the allocator each have their own
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        if "allow_pickle" in reason:
            reason = "it holds objects or is a pickle, and loading those could run code"
        raise MesascopeError(f"cannot be read ({reason:.160}); expected arrays of numbers from numpy.savez") from error
    for name, array in found.items():
        # A member that is no array comes as bytes.
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufU":
            got = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else "no array"
            raise MesascopeError(f"{name!r} has {got}; expected real numbers".replace("has no array", "is no array"))
    return found


def _split(found: Mapping[str, Any]) -> tuple[Arrays, Settings]:
    said = {name: array for name, array in found.items() if name in Settings.model_fields}
    for name, array in said.items():
        if array.size != 1:
            raise MesascopeError(f"{name} has shape {array.shape}; expected a single number or word")
    try:
        settings = Settings.model_validate({name: array.item() for name, array in said.items()})
    except ValidationError as error:
        raise MesascopeError(
            f"{first_complaint(error)}; see the schema in mesascope.models.formats.matrices"
        ) from error
    arrays = {}
    for name, array in found.items():
        if name in said:
            continue
        if array.dtype.kind == "U":
            raise MesascopeError(f"{name!r} is text; expected real numbers")
        arrays[name] = torch.from_numpy(array.astype(np.float64))
        if not arrays[name].float().isfinite().all():  # a float64 may leave the range of float32
            raise MesascopeError(f"{name} holds NaN or infinite numbers; save finite ones")
    return arrays, settings


def _model(maps: Maps, settings: Settings) -> HookedRegressor:
    n_stored, n_heads, D, d_head = maps.W_Q.shape
    if min(n_stored, n_heads, d_head) < 1 or D < 2:
        raise MesascopeError(
            f"n_layers={n_stored}, n_heads={n_heads}, d_head={d_head}, D={D}; expected at least one of each, and D >= 2"
        )
    if maps.tied and n_stored != 1:
        raise MesascopeError(f"tied, but there are {n_stored} layers; save one, and n_layers for how often it applies")
    n_layers = (settings.n_layers or 1) if maps.tied else n_stored
    for field, said, found in [
        ("n_dims", settings.n_dims, D - 1),
        ("n_layers", settings.n_layers, n_layers),
        ("n_heads", settings.n_heads, n_heads),
    ]:
        if said not in (None, found):
            raise MesascopeError(
                f"{field}={said} but the arrays have {found} (D = n_dims+1 = {D}); correct it, `tied` or `convention`"
            )
    cfg = RegressorConfig.linear_self_attention(D - 1, settings.n_points or D, n_layers, n_heads, maps.tied)
    cfg = cfg.model_copy(update={"d_head": d_head, "damping": settings.damping, "clip": settings.clip})
    model = HookedRegressor(cfg)
    with torch.no_grad():
        for layer, attention in enumerate(model.attentions[:n_stored]):
            for name in ("W_Q", "W_K", "W_V", "W_O"):
                getattr(attention, name).copy_(getattr(maps, name)[layer])
    return model.eval()
