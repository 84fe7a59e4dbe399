"""Models that hold constructions, exactly, in a strange gauge, or with noise."""

import torch

from mesascope.models import HookedRegressor, LinearRegression, RegressorConfig, gradient_descent, regauge
from mesascope.models.attention import LinearAttention
from mesascope.models.inputs import random_bases
from mesascope.models.streams import generator

D = torch.float64
TASK = LinearRegression(n_dims=4, n_points=13)


def step(eta=0.7, **options):
    """One step of gradient descent."""
    return gradient_descent(TASK.n_dims, TASK.n_points, eta, dtype=D, **options)


@torch.no_grad()
def disturbed(model, size=0.01, seed=0):
    """A copy with noise in all weights of attention, relative to each weight's largest entry, in a random gauge."""
    changed = HookedRegressor(model.cfg).to(D)
    changed.load_state_dict(model.state_dict())
    rng = generator(seed, "disturbed")
    for name, weight in changed.named_parameters():
        if ".attn." in name:
            weight.add_(size * weight.abs().max() * torch.randn(weight.shape, generator=rng, dtype=D))
    return regauge(changed, seed)


@torch.no_grad()
def with_junk(model):
    """A copy whose last layer also writes x, which nobody reads."""
    changed = HookedRegressor(model.cfg).to(D)
    changed.load_state_dict(model.state_dict())
    n, attention = model.cfg.n_dims, changed.attentions[-1]
    attention.W_O[:, :, :n] += 0.3
    return changed


@torch.no_grad()
def rotated(model, seed=0):
    """The same model of rotated x: QK and OV between slots are turned along."""
    changed = HookedRegressor(model.cfg).to(D)
    changed.load_state_dict(model.state_dict())
    n, width = model.cfg.n_dims, model.cfg.d_model
    R = torch.eye(width, dtype=D)
    R[:n, :n] = rotation(n, seed)
    for attention in changed.attentions[: 1 if model.cfg.tied else None]:
        for W in (attention.W_Q, attention.W_K, attention.W_V):
            W.copy_(R.mT @ W)
        attention.W_O.copy_(attention.W_O @ R)
    return changed


def rotation(n_dims, seed=0):
    return random_bases(1, n_dims, generator(seed, "rotation"))[0]


@torch.no_grad()
def in_heads(model, n_heads, d_head):
    """The same layers by random parts of their QK in several heads, each with all of OV."""
    cfg = RegressorConfig.model_validate(model.cfg.model_dump() | {"n_heads": n_heads, "d_head": d_head})
    changed = HookedRegressor(cfg).to(D)
    for old, new in zip(model.attentions, changed.attentions, strict=True):
        assert isinstance(old, LinearAttention)
        QK, OV = old.W_Q[0] @ old.W_K[0].mT, old.W_V[0] @ old.W_O[0]
        U, S, Vh = torch.linalg.svd(OV)
        for weight in new.parameters():
            weight.zero_()
        for head in range(n_heads):
            rows = slice(head * d_head, (head + 1) * d_head)
            new.W_K[head, rows, :].copy_(torch.eye(len(QK[rows]), d_head, dtype=D))
            new.W_Q[head].copy_(QK[:, rows] @ torch.eye(QK[:, rows].shape[1], d_head, dtype=D))
            new.W_V[head].copy_((U * S)[:, :d_head])
            new.W_O[head].copy_(Vh[:d_head])
    return changed
