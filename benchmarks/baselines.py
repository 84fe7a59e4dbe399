"""The decoder of Garg et al. (2022) without hooks: as one would write it for speed, and on Hugging Face's GPT2Model."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from mesascope.models import HookedRegressor, RegressorConfig


def interleaved(
    xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points"]
) -> Float[Tensor, "batch n_tokens n_dims"]:
    """The tokens x_0, (y_0, 0 … 0), x_1 and so on."""
    batch, n_points, n_dims = xs.shape
    tokens = xs.new_zeros(batch, n_points, 2, n_dims)
    tokens[:, :, 0], tokens[:, :, 1, 0] = xs, ys
    return tokens.view(batch, 2 * n_points, n_dims)


class PlainBlock(nn.Module):
    """Pre-LN block on nn.Linear and `scaled_dot_product_attention`."""

    def __init__(self, cfg: RegressorConfig):
        super().__init__()
        self.n_heads = cfg.n_heads
        self.ln_1, self.ln_2 = nn.LayerNorm(cfg.d_model), nn.LayerNorm(cfg.d_model)
        self.qkv, self.out = nn.Linear(cfg.d_model, 3 * cfg.d_model), nn.Linear(cfg.d_model, cfg.d_model)
        width = cfg.mlp_widths[0]
        self.fc, self.proj = nn.Linear(cfg.d_model, width), nn.Linear(width, cfg.d_model)

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """One layer of the residual stream."""
        batch, n_tokens, d_model = resid.shape
        q, k, v = self.qkv(self.ln_1(resid)).view(batch, n_tokens, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        resid = resid + self.out(z.transpose(1, 2).reshape(batch, n_tokens, d_model))
        return resid + self.proj(F.gelu(self.fc(self.ln_2(resid)), approximate="tanh"))

    @torch.no_grad()
    def copy_from(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of one block of a `HookedRegressor`, whose maps act on rows."""
        for norm, name in [(self.ln_1, "ln1"), (self.ln_2, "ln2")]:
            norm.weight.copy_(weights[f"{name}.w"])
            norm.bias.copy_(weights[f"{name}.b"])
        for linear, weight, bias in [
            (self.qkv, "attn.qkv_weight", "attn.qkv_bias"),
            (self.out, "attn.out_weight", "attn.out_bias"),
            (self.fc, "mlp.W_in", "mlp.b_in"),
            (self.proj, "mlp.W_out", "mlp.b_out"),
        ]:
            linear.weight.copy_(weights[weight].T)
            linear.bias.copy_(weights[bias])


class Decoder(nn.Module):
    """Read-in and read-out around a backbone; the weights are a `HookedRegressor`'s."""

    def __init__(self, model: HookedRegressor):
        super().__init__()
        cfg = model.cfg
        self.read_in, self.read_out = nn.Linear(cfg.n_dims, cfg.d_model), nn.Linear(cfg.d_model, 1)
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        with torch.no_grad():
            self.read_in.weight.copy_(weights["embed.W_E"].T)
            self.read_in.bias.copy_(weights["embed.b_E"])
            self.read_out.weight.copy_(weights["unembed.W_U"].T)
            self.read_out.bias.copy_(weights["unembed.b_U"])

    def backbone(self, embedded: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """From read-in to read-out."""
        raise NotImplementedError

    def forward(
        self, xs: Float[Tensor, "batch n_points n_dims"], ys: Float[Tensor, "batch n_points"]
    ) -> Float[Tensor, "batch n_points"]:
        """The prediction at every point, read at its x; all positions are read out, as in the reference code."""
        return self.read_out(self.backbone(self.read_in(interleaved(xs, ys))))[:, ::2, 0]


class PlainDecoder(Decoder):
    """The hook-free model."""

    def __init__(self, model: HookedRegressor):
        super().__init__(model)
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        self.positions = nn.Parameter(weights["embed.W_pos"].clone())
        self.blocks = nn.ModuleList(PlainBlock(model.cfg) for _ in range(model.cfg.n_layers))
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, PlainBlock)
            block.copy_from(block_weights(weights, layer))
        self.ln_f = nn.LayerNorm(model.cfg.d_model)
        self.ln_f.load_state_dict({"weight": weights["ln_final.w"], "bias": weights["ln_final.b"]})

    def backbone(self, embedded: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Positions, blocks, final norm."""
        resid = embedded + self.positions[: embedded.shape[1]]
        for block in self.blocks:
            resid = block(resid)
        return self.ln_f(resid)


class HuggingFaceDecoder(Decoder):
    """GPT2Model on `inputs_embeds`, as Garg et al. use it, with the attention it chooses by default."""

    def __init__(self, model: HookedRegressor):
        super().__init__(model)
        cfg = model.cfg
        self.gpt2 = GPT2Model(
            GPT2Config(
                vocab_size=1,  # tokens are never looked up
                n_positions=2 * cfg.n_points,
                n_embd=cfg.d_model,
                n_layer=cfg.n_layers,
                n_head=cfg.n_heads,
                n_inner=cfg.mlp_widths[0],
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                bos_token_id=None,
                eos_token_id=None,
                use_cache=False,
            )
        )
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        state = {"wte.weight": torch.zeros(1, cfg.d_model), "wpe.weight": weights["embed.W_pos"]}
        state |= {"ln_f.weight": weights["ln_final.w"], "ln_f.bias": weights["ln_final.b"]}
        for layer in range(cfg.n_layers):
            for name, value in block_weights(weights, layer).items():
                state[f"h.{layer}.{_GPT2_NAMES[name]}"] = value  # Conv1D keeps maps on rows, as we do
        self.gpt2.load_state_dict(state)

    def backbone(self, embedded: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """All of GPT2Model."""
        return self.gpt2(inputs_embeds=embedded).last_hidden_state


_GPT2_NAMES = {
    "ln1.w": "ln_1.weight",
    "ln1.b": "ln_1.bias",
    "ln2.w": "ln_2.weight",
    "ln2.b": "ln_2.bias",
    "attn.qkv_weight": "attn.c_attn.weight",
    "attn.qkv_bias": "attn.c_attn.bias",
    "attn.out_weight": "attn.c_proj.weight",
    "attn.out_bias": "attn.c_proj.bias",
    "mlp.W_in": "mlp.c_fc.weight",
    "mlp.b_in": "mlp.c_fc.bias",
    "mlp.W_out": "mlp.c_proj.weight",
    "mlp.b_out": "mlp.c_proj.bias",
}


def block_weights(weights: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    """The weights of one block, by their names inside it."""
    prefix = f"blocks.{layer}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
