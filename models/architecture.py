"""The architecture of a hooked regressor: one config for every model of the papers."""

from typing import Literal

from pydantic import Field, model_validator

from mesascope.models.config import Config
from mesascope.models.layouts import LAYOUTS, Layout

AttentionKind = Literal["softmax", "linear", "relu", "gradient_step", "none"]


class RegressorConfig(Config):
    """Architecture of a `HookedRegressor`; the defaults are the decoder of Garg et al. (2022)."""

    n_dims: int = Field(ge=1)
    n_points: int = Field(ge=1)
    """The longest prompt, in points."""
    n_layers: int = Field(ge=1, le=1000)
    n_heads: int = Field(1, ge=1)
    d_model: int = Field(ge=1)
    d_head: int = Field(default_factory=lambda data: max(data.get("d_model", 1) // data.get("n_heads", 1), 1), ge=1)
    """Width of a head; left out, d_model/n_heads."""
    d_mlp: int | tuple[int, ...] = 0
    """Width of the MLP, for all layers or for each; 0 leaves it out."""
    mlp_activation: Literal["gelu", "linear"] = "gelu"
    d_out: int = Field(1, ge=1)
    """How many numbers a prediction has."""
    layout: Literal["interleaved", "joint", "separate", "sequence", "scratch"] = "interleaved"
    block: Literal["transformer", "lstm"] = "transformer"
    attention: AttentionKind | tuple[AttentionKind, ...] = "softmax"
    """Kind of attention, for all layers or for each."""
    tied: bool = False
    """Whether all layers share their weights ("recurrent" in von Oswald et al., 2023)."""
    causal: bool = True
    query_is_key: bool = True
    """Whether the last token is among the keys."""
    layer_norm: bool = True
    read_in: Literal["affine", "slots"] = "affine"
    """A learned map of the tokens into the residual stream, or the tokens themselves."""
    read_out: Literal["affine", "slots"] = "affine"
    """A learned map out of it, or minus the y-slots, of which a token then has d_out."""
    positions: Literal["learned", "sinusoidal", "none"] = "learned"
    """A learned vector added to each token, a fixed code beside it, or none."""
    d_position: int = Field(0, ge=0)
    """Width of the sinusoidal code."""
    attention_bias: bool = True
    mlp_bias: bool = True
    damping: float = Field(1.0, gt=0)
    """Factor on what a layer adds to the residual stream."""
    clip: float | None = Field(None, gt=0)
    """Bound on the residual stream's entries after each addition."""
    init_scale: float = Field(0.5, gt=0)
    """Initial weights are normal with std init_scale/√fan_in."""

    @model_validator(mode="after")
    def _fits(self) -> "RegressorConfig":
        for name in ("attention", "d_mlp"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != self.n_layers:
                raise ValueError(f"{name} has {len(value)} entries for n_layers={self.n_layers}; give one per layer")
        if min(self.mlp_widths) < 0:
            raise ValueError(f"d_mlp={self.d_mlp}: expected widths >= 0")
        if (self.positions == "sinusoidal") != (self.d_position > 0):
            raise ValueError(
                f"positions={self.positions!r} with d_position={self.d_position}; a sinusoidal code needs a width, "
                "other positions have none"
            )
        if self.d_position >= self.d_model:
            raise ValueError(f"d_position={self.d_position} leaves no room in d_model={self.d_model}; raise d_model")
        width = self.d_token + self.d_position
        if self.read_in == "slots" and (self.d_model != width or self.positions == "learned"):
            raise ValueError(
                f"read_in='slots' with layout={self.layout!r}, n_dims={self.n_dims} and d_position={self.d_position} "
                f"needs d_model={width} and positions 'none' or 'sinusoidal', got {self.d_model} and {self.positions!r}"
            )
        n_slots = self.d_model - self.d_position if self.tokens.has_y_slots else 1
        if self.read_out == "slots" and self.d_out > n_slots:
            raise ValueError(
                f"read_out='slots' reads d_out={self.d_out} y-slots, and layout={self.layout!r} with "
                f"d_model={self.d_model} and d_position={self.d_position} has {n_slots}; use read_out='affine'"
            )
        if self.block == "lstm" and (any(self.mlp_widths) or self.damping != 1 or self.clip is not None):
            raise ValueError("block='lstm' has no d_mlp, damping or clip; leave them out")
        if "gradient_step" in self.attentions and (self.n_heads, self.d_head) != (1, self.d_model):
            raise ValueError(
                f"attention 'gradient_step' is one head of width d_model={self.d_model}, got n_heads={self.n_heads} "
                f"and d_head={self.d_head}; leave both out"
            )
        if "gradient_step" in self.attentions and self.n_points < 2:
            raise ValueError("attention 'gradient_step' divides by the points of context, and n_points=1 has none")
        if not self.causal and len(self.tokens.read_points(2)) > 1:
            raise ValueError(
                f"causal=False with layout={self.layout!r} lets a prediction attend to the y it is to predict; use "
                "causal=True, or a layout that reads the last point alone"
            )
        if self.tied and (len(set(self.attentions)) > 1 or len(set(self.mlp_widths)) > 1):
            raise ValueError("tied layers share their weights: give one kind of attention and one d_mlp for all")
        return self

    @property
    def tokens(self) -> Layout:
        """The token layout."""
        return LAYOUTS[self.layout]

    @property
    def attentions(self) -> tuple[AttentionKind, ...]:
        """The kind of attention of each layer."""
        return self.attention if isinstance(self.attention, tuple) else (self.attention,) * self.n_layers

    @property
    def mlp_widths(self) -> tuple[int, ...]:
        """The width of each layer's MLP, 0 where there is none."""
        return self.d_mlp if isinstance(self.d_mlp, tuple) else (self.d_mlp,) * self.n_layers

    @property
    def d_y(self) -> int:
        """How many numbers a token holds of a y."""
        return self.d_out if self.read_out == "slots" else 1

    @property
    def d_token(self) -> int:
        """Width of a token."""
        return self.tokens.d_token(self.n_dims, self.d_y)

    @property
    def y_slot(self) -> int:
        """The first entry of the residual stream that holds y, where tokens are not mapped; d_y before any code."""
        return self.d_model - self.d_position - self.d_y

    @property
    def attn_only(self) -> bool:
        """Whether there is no MLP, as TransformerLens' `ActivationCache` asks."""
        return not any(self.mlp_widths)

    @property
    def normalization_type(self) -> str | None:
        """The norm, as TransformerLens' `ActivationCache` asks."""
        return "LN" if self.layer_norm and self.block == "transformer" else None

    @property
    def final_norm(self) -> bool:
        """Whether a norm stands before the read-out; a slot would lose its meaning behind one."""
        return self.layer_norm and self.read_out == "affine" and self.block == "transformer"

    @classmethod
    def linear_self_attention(
        cls, n_dims: int, n_points: int, n_layers: int, n_heads: int = 1, tied: bool = False, d_out: int = 1
    ) -> "RegressorConfig":
        """Von Oswald's LSA: joint tokens as residual stream, no mask, scale, bias or norm; the query is no key."""
        return cls(
            n_dims=n_dims,
            n_points=n_points,
            n_layers=n_layers,
            n_heads=n_heads,
            d_model=n_dims + d_out,
            d_head=n_dims + d_out,
            d_out=d_out,
            layout="joint",
            attention="linear",
            tied=tied,
            causal=False,
            query_is_key=False,
            layer_norm=False,
            read_in="slots",
            read_out="slots",
            positions="none",
            attention_bias=False,
        )
