"""Constructions that need an architecture of their own, held against all weights of a model at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from mesascope.analyses.matching.layer_match import BEYOND, NAMED
from mesascope.models import (
    HookedRegressor,
    MesascopeError,
    RegressorConfig,
    copy_then_descend,
    descend_on_weights,
    induction,
    newton,
)
from mesascope.models.constructions.gauge import has_free_basis
from mesascope.models.constructions.newton_schulz import FORMS
from mesascope.probes import LayerOperator, align, layer_maps, outer_vectors

Build = Callable[[float], HookedRegressor]
"""From a construction's one free scalar to its weights, float64."""
VANISHING, EXACT = (1e-5, 1e-3, 1e-2), 1e-4
"""Lengths below which a vector is noise of the weights (see `align`), and a distance that is rounding."""
STEP, FAR = 1.0, 0.7
GRID = [STEP * step for step in range(-13, 4)]
"""Logarithms of the scalar at which the search starts; it goes on up to a step away if that is not far off."""


@dataclass(frozen=True)
class Construction:
    """A construction of one architecture, but for a scalar."""

    name: str
    symbol: str
    build: Build


@dataclass(frozen=True)
class WholeMatch:
    """All weights beside the nearest member of one construction."""

    name: str
    symbol: str
    scalar: float
    distance: float
    """(Σ ‖T − T*‖² / Σ ‖T‖²)^½ over layers, linear MLPs, read-in and read-out, both models in one basis; up to 2."""
    untrained: tuple[float, ...]
    """The distances of untrained twins."""

    @property
    def null(self) -> float:
        """The smallest distance of untrained twins."""
        return min(self.untrained, default=1.0)

    @property
    def named(self) -> bool:
        """Whether it is near enough for the construction's name, and nearer than chance."""
        return self.distance <= NAMED and self.distance < BEYOND * self.null

    def data(self) -> dict[str, Any]:
        """All of it."""
        return vars(self) | {"untrained": list(self.untrained)}


def constructions_of(cfg: RegressorConfig) -> list[Construction]:
    """The constructions that have this architecture."""
    n, shape = cfg.n_layers - 2, (cfg.n_dims, cfg.n_points)
    found = [
        Construction(f"{n} step{'s' * (n != 1)} of Newton ({form.replace('_', ' ')})", "α", partial(_newton, cfg, form))
        for form in FORMS
    ]
    found += [
        Construction(
            f"{n} step{'s' * (n != 1)} of GD on w (scratch tokens)",
            "η",
            lambda eta: descend_on_weights(*shape, [eta] * n, dtype=torch.float64),
        ),
        Construction(
            "neighbour copy, then 1 step of GD",
            "η",
            lambda eta: copy_then_descend(*shape, eta, d_position=cfg.d_position, dtype=torch.float64),
        ),
        Construction("induction as 1 step of GD", "η", lambda eta: induction(*shape, eta, dtype=torch.float64)),
    ]
    return [construction for construction in found if _has(construction, cfg)]


def _newton(cfg: RegressorConfig, form: Any, alpha: float) -> HookedRegressor:
    return newton(cfg.n_dims, cfg.n_points, cfg.n_layers - 2, alpha, form, dtype=torch.float64)


def _has(construction: Construction, cfg: RegressorConfig) -> bool:
    """Whether a construction has an architecture; one that cannot be built of its sizes has not."""
    try:
        built = construction.build(1.0).cfg
    except MesascopeError:
        return False
    return _essence(built) == _essence(cfg)


def _essence(cfg: RegressorConfig) -> dict[str, Any]:
    """A config without what changes no function, and one spelling of the rest."""
    without = {"init_scale"} | ({"mlp_bias", "mlp_activation"} if cfg.attn_only else set())
    return cfg.model_dump(exclude=without) | {"attention": cfg.attentions, "d_mlp": cfg.mlp_widths}


def match_whole(model: HookedRegressor, twins: Sequence[HookedRegressor]) -> WholeMatch | None:
    """The nearest of the constructions that have the model's architecture; None if none has.

    Args:
        model: The model.
        twins: Untrained ones, held against the same member.
    """
    found = []
    for construction in constructions_of(model.cfg):
        scalar, distance = nearest_member(construction, model)
        untrained = tuple(distance_to(construction.build(scalar), twin) for twin in twins)
        found.append(WholeMatch(construction.name, construction.symbol, scalar, distance, untrained))
    return min(found, key=lambda match: match.distance, default=None)


def nearest_member(construction: Construction, model: HookedRegressor) -> tuple[float, float]:
    """The scalar of the nearest member, and the distance to it: a grid of logarithms, then Brent's method.

    Weights that are exact but for rounding are found with the first notion of what is rounding; others with another.
    """
    found: list[tuple[float, float]] = []
    for vanishing in VANISHING:
        found.append(_search(construction, model, vanishing))
        if found[-1][1] < EXACT or not has_free_basis(model.cfg):
            break
    return min(found, key=lambda pair: pair[1])


def _search(construction: Construction, model: HookedRegressor, vanishing: float) -> tuple[float, float]:
    def left(log: float) -> float:
        return distance_to(construction.build(math.exp(log)), model, vanishing)

    near, start = min((left(log), log) for log in GRID)
    if near > FAR:
        return math.exp(start), near
    found = minimize_scalar(left, bounds=(start - STEP, start + STEP), method="bounded", options={"xatol": 1e-7})
    return math.exp(found.x), float(found.fun)


def distance_to(construction: HookedRegressor, model: HookedRegressor, vanishing: float = VANISHING[0]) -> float:
    """The distance of a model to a construction, in the basis that brings them nearest (it may hang on the scalar)."""
    free = has_free_basis(model.cfg)
    R = align(construction, model, vanishing=vanishing) if free else torch.eye(model.cfg.d_model, dtype=torch.float64)
    return distance_between(construction, model, R)


def distance_between(
    construction: HookedRegressor, model: HookedRegressor, R: Float[Tensor, "d_model d_model"]
) -> float:
    """(Σ ‖T − T*‖² / Σ ‖T‖²)^½ of two models of one architecture, the first rotated.

    Each layer, each linear MLP, and all that stands outside of the layers are parts of equal weight: they are relative
    to their own norms, of which the larger counts.
    """
    R = R.to(next(model.parameters()).device)
    parts = [_apart(outer_vectors(construction) @ R, outer_vectors(model))]
    parts += [
        _apart(_rotated(one, R), two) for one, two in zip(layer_maps(construction), layer_maps(model), strict=True)
    ]
    return (sum(part**2 for part in parts) / len(parts)) ** 0.5


def _rotated(part: LayerOperator | Tensor, R: Tensor) -> LayerOperator | Tensor:
    if isinstance(part, Tensor):
        return R.mT @ part @ R
    return LayerOperator(R.mT @ part.W_Q, R.mT @ part.W_K, R.mT @ part.W_V, part.W_O @ R)


def _apart(one: LayerOperator | Tensor, two: LayerOperator | Tensor) -> float:
    """The norm of a difference, relative to the larger of both."""
    if isinstance(one, LayerOperator) and isinstance(two, LayerOperator):
        norms, along = (one.norm, two.norm), one.inner(two)
        square = norms[0] ** 2 + norms[1] ** 2 - 2 * along
    else:
        assert isinstance(one, Tensor) and isinstance(two, Tensor)
        norms, square = (one.norm().item(), two.norm().item()), (one - two).square().sum().item()
    return max(square, 0.0) ** 0.5 / max(*norms, 1e-300)
