"""One small model per family of architectures, with a task that it can read."""

import torch

from mesascope.models import LinearRegression, RegressorConfig, RepeatedSequence, Sine

_LSA = RegressorConfig.linear_self_attention(n_dims=3, n_points=6, n_layers=2)
_DECODER = RegressorConfig(n_dims=3, n_points=6, n_layers=2, n_heads=2, d_model=8, d_mlp=16)


def changed(cfg, **fields):
    """A config with other fields, validated as a user's would be."""
    return RegressorConfig.model_validate(cfg.model_dump() | fields)


_SINE = RegressorConfig(
    n_dims=1,
    n_points=6,
    n_layers=2,
    d_model=8,
    d_mlp=(16, 0),
    layout="joint",
    attention=("none", "linear"),
    causal=False,
    query_is_key=False,
    layer_norm=False,
    positions="none",
    read_out="slots",
    attention_bias=False,
)
FAMILIES = {
    "decoder": _DECODER,
    "lsa": _LSA,
    "tied lsa": changed(_LSA, tied=True),
    "tied decoder": changed(_DECODER, tied=True),
    "two heads": changed(_LSA, n_heads=2),
    "joint softmax": changed(_LSA, attention="softmax", n_heads=2),
    "layer norm before slots": changed(_LSA, layer_norm=True),
    "damped and clipped": changed(_LSA, damping=0.5, clip=1.5),
    "separate": changed(
        _LSA, layout="separate", attention=("softmax", "linear"), positions="sinusoidal", d_position=4, d_model=8
    ),
    "scratch": changed(_LSA, layout="scratch", d_model=7, d_head=7),
    "relu": changed(_LSA, attention="relu", n_heads=2),
    "linear mlp": changed(_DECODER, layout="scratch", mlp_activation="linear", causal=False, query_is_key=False),
    "sine": _SINE,
    "sine-gd": changed(_SINE, attention=("none", "gradient_step")),
    "lstm": RegressorConfig(
        n_dims=3, n_points=6, n_layers=2, d_model=8, block="lstm", positions="none", layer_norm=False
    ),
    "tied lstm": RegressorConfig(
        n_dims=3, n_points=6, n_layers=2, d_model=8, block="lstm", positions="none", tied=True
    ),
    "induction": RegressorConfig(n_dims=4, n_points=6, n_layers=2, n_heads=2, d_model=8, d_out=4, layout="sequence"),
}


def task_of(cfg):
    """A task that fits a config."""
    if cfg.layout == "sequence":
        return RepeatedSequence(n_dims=cfg.n_dims, n_points=cfg.n_points, period=3)
    if cfg.n_dims == 1:
        return Sine(n_points=cfg.n_points)
    return LinearRegression(n_dims=cfg.n_dims, n_points=cfg.n_points)


def prompts_of(cfg, n_prompts=5, dtype=torch.float64):
    """Prompts of that task."""
    return task_of(cfg).sample(n_prompts, seed=0, dtype=dtype)
