"""One class for every in-context regressor, hooked with TransformerLens' names."""

from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens import ActivationCache, FactoredMatrix, HookedRootModule

from mesascope.models.architecture import RegressorConfig
from mesascope.models.attention import Attention
from mesascope.models.blocks import BLOCKS, Block
from mesascope.models.errors import MesascopeError, nearest
from mesascope.models.hooks import HookNames, resolve_hooks
from mesascope.models.interfaces import AffineReadOut, LayerNorm, ReadIn, SlotReadOut
from mesascope.models.streams import generator


class HookedRegressor(HookedRootModule):
    """A model that predicts y from a prompt, hooked at every intermediate activation.

    Calling it returns the predictions at `read_points`. Weights have TransformerLens' names and shapes and act on
    row vectors. Nothing is materialised for a hook that nobody listens to.

    Args:
        cfg: The architecture.
        seed: Seed of the initial weights; each parameter is drawn from a stream of its own.
    """

    def __init__(self, cfg: RegressorConfig, seed: int = 0):
        super().__init__()
        self.cfg, self.seed = cfg, seed
        self.embed = ReadIn(cfg)
        self.blocks = nn.ModuleList(BLOCKS[cfg.block](cfg, layer) for layer in range(cfg.n_layers))
        if cfg.tied:
            _tie(self.blocks)
        self.ln_final: nn.Module = LayerNorm(cfg.d_model) if cfg.final_norm else nn.Identity()
        self.unembed: nn.Module = (
            AffineReadOut(cfg.d_model, cfg.d_out) if cfg.read_out == "affine" else SlotReadOut(cfg.y_slot, cfg.d_y)
        )
        self._initialise(seed)
        self.setup()

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        # std .5/√fan_in, residual outputs also /√(2L): with GPT-2's .02 small decoders stay on the plateau for
        # thousands of steps (measured at width 48).
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                continue  # biases and norms keep their zeros and ones
            fan_in = parameter.shape[1 if ".lstm." in name else 0]  # PyTorch's LSTM acts on columns
            std = self.cfg.init_scale / (self.cfg.d_model if name.endswith("W_pos") else fan_in) ** 0.5
            if name.endswith(("attn.out_weight", "mlp.W_out")):
                std /= (2 * self.cfg.n_layers) ** 0.5
            # Drawn on the CPU in the default dtype, so that a twin is the same on every device.
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator(seed, "init", name)))

    def forward(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points *d_y"]
    ) -> Float[Tensor, "batch n_read *d_out"]:
        """Predictions at `read_points(n_points)`, with an axis of their own if they have several numbers.

        Raises:
            MesascopeError: The prompt has another n_dims, more points than the model has positions, or ys of another
                width than its tokens have room for.
        """
        n_points = xs.shape[1]
        if xs.shape[2] != self.cfg.n_dims:
            raise MesascopeError(
                f"prompts have n_dims={xs.shape[2]} but the model was built for n_dims={self.cfg.n_dims}; "
                "use a task of the model's dimension"
            )
        if self.cfg.positions == "learned" and n_points > self.cfg.n_points:
            raise MesascopeError(
                f"prompts have n_points={n_points} but the model has positions for {self.cfg.n_points}; "
                "use shorter prompts"
            )
        expected = (*xs.shape[:2], *([self.cfg.d_y] if self.cfg.d_y > 1 else []))
        if ys.shape != expected:
            raise MesascopeError(
                f"ys have shape {tuple(ys.shape)} but the model expects {expected}; give each point d_y={self.cfg.d_y} "
                "numbers"
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
        return [*names, "ln_final.hook_normalized"] if self.cfg.final_norm else names

    @property
    def QK(self) -> FactoredMatrix:
        """W_Q W_Kᵀ of the layers with attention, `[n_layers, n_heads, d_model, d_model]`, factored."""
        return FactoredMatrix(self._stack("W_Q"), self._stack("W_K").mT)

    @property
    def OV(self) -> FactoredMatrix:
        """W_V W_O of the layers with attention, `[n_layers, n_heads, d_model, d_model]`, factored."""
        return FactoredMatrix(self._stack("W_V"), self._stack("W_O"))

    @property
    def attentions(self) -> list[Attention]:
        """The attention layers; none in an LSTM."""
        found = [cast(Block, block).attn for block in self.blocks]
        return [attention for attention in found if attention is not None]

    def _stack(self, name: str) -> Float[Tensor, "n_layers n_heads rows cols"]:
        if not self.attentions:
            raise MesascopeError("this model has no attention, so no W_Q, W_K, W_V and W_O; attach to a transformer")
        return torch.stack([getattr(attention, name) for attention in self.attentions])

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights by name, each once; tied layers have those of the first."""
        return {name: parameter.detach() for name, parameter in self.named_parameters()}

    def untrained_twin(self, seed: int) -> "HookedRegressor":
        """The same architecture with fresh random weights."""
        twin = HookedRegressor(self.cfg, seed)
        return twin.to(next(self.parameters()))


def _tie(blocks: nn.ModuleList) -> None:
    """Give every block the parameters of the first; hooks stay their own."""
    for name, parameter in blocks[0].named_parameters():
        path, _, leaf = name.rpartition(".")
        for block in list(blocks)[1:]:
            setattr(block.get_submodule(path), leaf, parameter)
