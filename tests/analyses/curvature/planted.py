"""Models whose every γ is known, made by hand."""

import torch

from mesascope.analyses import Scope, attach
from mesascope.models import GradientDescentPlusPlus, HookedRegressor, LinearRegression, RegressorConfig, gd_plus_plus
from mesascope.models.constructions.assembly import Head, Layer, assemble
from mesascope.models.constructions.residual_stream import ResidualStream
from mesascope.models.inputs import Uniform, random_bases
from mesascope.models.streams import generator

N_DIMS, N_POINTS = 4, 13
TASK = LinearRegression(n_dims=N_DIMS, n_points=N_POINTS, inputs=Uniform(half_width=1.0))
"""12 points of context, with eigenvalues of S/n about 1/3."""
ETAS, GAMMAS = (1.0, 2.5, 4.0), (0.8, 0.5, 0.0)
LEARNER = GradientDescentPlusPlus(ETAS, GAMMAS)


def planted(etas=ETAS, gammas=GAMMAS, **given) -> Scope:
    """Exact GD++."""
    return attach(gd_plus_plus(N_DIMS, N_POINTS, etas, gammas, dtype=torch.float64, **given), task=TASK)


def tied(eta: float, gamma: float, n_layers: int = 3) -> Scope:
    """Exact GD++ in one layer that is applied several times."""
    once = gd_plus_plus(N_DIMS, N_POINTS, [eta], [gamma], dtype=torch.float64)
    model = HookedRegressor(once.cfg.model_copy(update={"tied": True, "n_layers": n_layers})).double()
    model.load_state_dict({name: once.state_dict()[_first(name)] for name in model.state_dict()})
    return attach(model, task=TASK)


def _first(name: str) -> str:
    prefix, _, rest = name.partition(".")
    return f"blocks.0.{rest.split('.', 1)[1]}" if prefix == "blocks" else name


def with_updates(maps, eta: float = 1.0) -> Scope:
    """Layers of gradient descent with x ← x − S x M_lᵀ, one M_l a layer: GD++ if they are multiples of the identity."""
    n, h = N_POINTS - 1, ResidualStream(x=N_DIMS, y=1)
    layers = [
        Layer([Head(h.match("x", "x"), -(1 / n) * h.copy("x", to="x", by=M) - (eta / n) * h.copy("y", to="y"))])
        for M in maps
    ]
    cfg = RegressorConfig.linear_self_attention(N_DIMS, N_POINTS, len(layers))
    return attach(assemble(cfg, layers, torch.float64), task=TASK)


def rotation(seed: int = 0) -> torch.Tensor:
    """A random one."""
    return random_bases(1, N_DIMS, generator(seed, "rotation"))[0]
