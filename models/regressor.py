"""One transformer class for every in-context regressor, hooked with TransformerLens' names."""

from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from transformer_lens import ActivationCache, FactoredMatrix, HookedRootModule
from transformer_lens.hook_points import HookPoint

from mesascope.models.attention import ATTENTIONS, Attention
from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError, nearest
from mesascope.models.hooks import HookNames, resolve_hooks
from mesascope.models.interfaces import AffineReadIn, AffineReadOut, LayerNorm, SlotReadOut
from mesascope.models.layouts import LAYOUTS, Layout
from mesascope.models.streams import generator


class RegressorConfig(Config):
    """Architecture of a `HookedRegressor`; the defaults are the decoder of Garg et al. (2022)."""

    n_dims: int = Field(ge=1)
    n_points: int = Field(ge=1)
    """The longest prompt, in points."""
    n_layers: int = Field(ge=1)
    n_heads: int = Field(ge=1)
    d_model: int = Field(ge=1)
    d_head: int = Field(ge=1)
    d_mlp: int = Field(0, ge=0)
    """Width of the MLP; 0 leaves it out."""
    layout: Literal["interleaved", "joint"] = "interleaved"
    attention: Literal["softmax", "linear"] = "softmax"
    causal: bool = True
    query_is_key: bool = True
    """Whether the last token is among the keys."""
    layer_norm: bool = True
    read: Literal["affine", "slots"] = "affine"
    """Learned read-in, positions and read-out, or the tokens as the residual stream."""
    bias: bool = True

    @model_validator(mode="after")
    def _slots_fit(self) -> "RegressorConfig":
        if self.read == "slots" and self.d_model != self.tokens.d_token(self.n_dims):
            raise ValueError(
                f"read='slots' with layout={self.layout!r} and n_dims={self.n_dims} needs "
                f"d_model={self.tokens.d_token(self.n_dims)}, got {self.d_model}"
            )
        return self

    @property
    def tokens(self) -> Layout:
        """The token layout."""
        return LAYOUTS[self.layout]

    @property
    def attn_only(self) -> bool:
        """Whether there is no MLP, as TransformerLens' `ActivationCache` asks."""
        return self.d_mlp == 0

    @property
    def normalization_type(self) -> str | None:
        """The norm, as TransformerLens' `ActivationCache` asks."""
        return "LN" if self.layer_norm else None

    @classmethod
    def linear_self_attention(cls, n_dims: int, n_points: int, n_layers: int, n_heads: int = 1) -> "RegressorConfig":
        """Von Oswald's LSA: joint tokens as residual stream, no mask, scale, bias or norm; the query is no key."""
        return cls(
            n_dims=n_dims,
            n_points=n_points,
            n_layers=n_layers,
            n_heads=n_heads,
            d_model=n_dims + 1,
            d_head=n_dims + 1,
            layout="joint",
            attention="linear",
            causal=False,
            query_is_key=False,
            layer_norm=False,
            read="slots",
            bias=False,
        )


class MLP(nn.Module):
    """gelu_new(h W_in + b_in) W_out + b_out."""

    def __init__(self, d_model: int, d_mlp: int, bias: bool):
        super().__init__()
        self.W_in, self.W_out = nn.Parameter(torch.zeros(d_model, d_mlp)), nn.Parameter(torch.zeros(d_mlp, d_model))
        self.b_in = nn.Parameter(torch.zeros(d_mlp)) if bias else None
        self.b_out = nn.Parameter(torch.zeros(d_model)) if bias else None
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Return what is added to the residual stream."""
        pre = self.hook_pre(F.linear(resid, self.W_in.mT, self.b_in))
        return F.linear(self.hook_post(F.gelu(pre, approximate="tanh")), self.W_out.mT, self.b_out)


class Block(nn.Module):
    """Attention, then an MLP if there is one, each behind its norm if there is one."""

    def __init__(self, cfg: RegressorConfig):
        super().__init__()
        self.hook_resid_pre, self.hook_attn_out, self.hook_resid_post = HookPoint(), HookPoint(), HookPoint()
        self.ln1: nn.Module = LayerNorm(cfg.d_model) if cfg.layer_norm else nn.Identity()
        self.attn = ATTENTIONS[cfg.attention](
            cfg.d_model, cfg.n_heads, cfg.d_head, bias=cfg.bias, causal=cfg.causal, query_is_key=cfg.query_is_key
        )
        self.mlp = MLP(cfg.d_model, cfg.d_mlp, cfg.bias) if cfg.d_mlp else None
        if self.mlp is not None:  # as in TransformerLens, an attention-only block has no resid_mid
            self.hook_resid_mid, self.hook_mlp_out = HookPoint(), HookPoint()
            self.ln2: nn.Module = LayerNorm(cfg.d_model) if cfg.layer_norm else nn.Identity()

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """One layer of the residual stream."""
        resid = self.hook_resid_pre(resid)
        resid = resid + self.hook_attn_out(self.attn(self.ln1(resid)))
        if self.mlp is not None:
            resid = self.hook_resid_mid(resid)
            resid = resid + self.hook_mlp_out(self.mlp(self.ln2(resid)))
        return self.hook_resid_post(resid)


class HookedRegressor(HookedRootModule):
    """A transformer that predicts y from a prompt, hooked at every intermediate activation.

    Calling it returns the predictions at `read_points`. Weights have TransformerLens' names and shapes and act on
    row vectors. Nothing is materialised for a hook that nobody listens to.

    Args:
        cfg: The architecture.
        seed: Seed of the initial weights; each parameter is drawn from a stream of its own.
    """

    def __init__(self, cfg: RegressorConfig, seed: int = 0):
        super().__init__()
        self.cfg, self.seed = cfg, seed
        d_token, n_tokens = cfg.tokens.d_token(cfg.n_dims), cfg.tokens.n_tokens(cfg.n_points)
        self.embed: nn.Module = AffineReadIn(d_token, cfg.d_model, n_tokens) if cfg.read == "affine" else nn.Identity()
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.n_layers))
        self.ln_final: nn.Module = LayerNorm(cfg.d_model) if cfg.layer_norm else nn.Identity()
        self.unembed: nn.Module = AffineReadOut(cfg.d_model) if cfg.read == "affine" else SlotReadOut()
        self._initialise(seed)
        self.setup()

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        # std .5/√fan_in, residual outputs also /√(2L): with GPT-2's .02 small decoders stay on the plateau for
        # thousands of steps (measured at width 48).
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                continue  # biases and norms keep their zeros and ones
            fan_in = self.cfg.d_model if name.endswith("W_pos") else parameter.shape[0]
            std = 0.5 / fan_in**0.5
            if name.endswith(("attn.out_weight", "mlp.W_out")):
                std /= (2 * self.cfg.n_layers) ** 0.5
            # Drawn on the CPU in the default dtype, so that a twin is the same on every device.
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator(seed, "init", name)))

    def forward(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points"]
    ) -> Float[Tensor, "batch n_read"]:
        """Predictions at `read_points(n_points)`.

        Raises:
            MesascopeError: The prompt has another n_dims, or more points than the model has positions.
        """
        n_points = xs.shape[1]
        if xs.shape[2] != self.cfg.n_dims:
            raise MesascopeError(
                f"prompts have n_dims={xs.shape[2]} but the model was built for n_dims={self.cfg.n_dims}; "
                "use a task of the model's dimension"
            )
        if self.cfg.read == "affine" and n_points > self.cfg.n_points:
            raise MesascopeError(
                f"prompts have n_points={n_points} but the model has positions for {self.cfg.n_points}; "
                "use shorter prompts"
            )
        resid = self.embed(self.cfg.tokens.tokens(xs, ys))
        for block in self.blocks:
            resid = block(resid)
        return self.unembed(self.ln_final(resid)[:, self.cfg.tokens.read_positions(n_points)])

    def read_points(self, n_points: int) -> range:
        """The points of a prompt at which the model predicts."""
        return self.cfg.tokens.read_points(n_points)

    def read_positions(self, n_points: int) -> slice:
        """The token positions of those points."""
        return self.cfg.tokens.read_positions(n_points)

    def run_with_cache(  # type: ignore[override]
        self, xs: Tensor, ys: Tensor, names_filter: HookNames | None = None, **kwargs: Any
    ) -> tuple[Tensor, ActivationCache]:
        """Predictions and the activations of the hooks that `names_filter` means (all by default).

        Raises:
            MesascopeError: The filter matches no hook.
        """
        names = resolve_hooks(self, "*" if names_filter is None else names_filter)
        preds, cache = super().run_with_cache(xs, ys, names_filter=names, **kwargs)
        return preds, ActivationCache(cache, self, has_batch_dim=not kwargs.get("remove_batch_dim", False))

    def _enable_hook_with_name(self, name: str, hook: Any, dir: Literal["fwd", "bwd"]) -> None:
        # TransformerLens answers an unknown name with a bare KeyError.
        if name not in self.hook_dict:
            raise MesascopeError(f"no hook is called {name!r}{nearest(name, self.hook_dict)}")
        super()._enable_hook_with_name(name, hook, dir)

    @property
    def residual_hooks(self) -> list[str]:
        """The residual stream as the readouts see it: the input, after each layer, and after the final norm."""
        names = ["blocks.0.hook_resid_pre", *(f"blocks.{layer}.hook_resid_post" for layer in range(self.cfg.n_layers))]
        return [*names, "ln_final.hook_normalized"] if self.cfg.layer_norm else names

    @property
    def QK(self) -> FactoredMatrix:
        """W_Q W_Kᵀ, `[n_layers, n_heads, d_model, d_model]`, factored."""
        return FactoredMatrix(self._stack("W_Q"), self._stack("W_K").mT)

    @property
    def OV(self) -> FactoredMatrix:
        """W_V W_O, `[n_layers, n_heads, d_model, d_model]`, factored."""
        return FactoredMatrix(self._stack("W_V"), self._stack("W_O"))

    @property
    def attentions(self) -> list[Attention]:
        """The attention layers."""
        return [cast(Block, block).attn for block in self.blocks]

    def _stack(self, name: str) -> Float[Tensor, "n_layers n_heads rows cols"]:
        return torch.stack([getattr(attention, name) for attention in self.attentions])

    def untrained_twin(self, seed: int) -> "HookedRegressor":
        """The same architecture with fresh random weights."""
        twin = HookedRegressor(self.cfg, seed)
        return twin.to(next(self.parameters()))
