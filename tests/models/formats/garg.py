"""A run folder as the code of Garg et al. (2022) writes it, around Hugging Face's GPT2Model."""

from pathlib import Path

import torch
import yaml
from transformers import GPT2Config, GPT2Model

N_DIMS, N_POSITIONS, N_EMBD, N_LAYER, N_HEAD = 3, 6, 16, 2, 4


class TransformerModel(torch.nn.Module):
    """Their model class: read-in, GPT-2 on embedded interleaved tokens, read-out at the x's."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        config = GPT2Config(
            n_positions=2 * N_POSITIONS,
            n_embd=N_EMBD,
            n_layer=N_LAYER,
            n_head=N_HEAD,
            vocab_size=11,  # theirs is 50257, of a table that nothing reads
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
        )
        self._read_in = torch.nn.Linear(N_DIMS, N_EMBD)
        self._backbone = GPT2Model(config)
        self._read_out = torch.nn.Linear(N_EMBD, 1)
        for parameter in self.parameters():  # GPT-2's own start hides biases (0), norms (1) and scale mistakes
            torch.nn.init.normal_(parameter, mean=0.1, std=0.4)
        self.eval()

    @torch.no_grad()
    def forward(self, xs, ys):
        y_tokens = torch.cat([ys[..., None], torch.zeros(*ys.shape, xs.shape[-1] - 1)], dim=2)
        tokens = torch.stack([xs, y_tokens], dim=2).view(len(xs), -1, xs.shape[-1])
        hidden = self._backbone(inputs_embeds=self._read_in(tokens)).last_hidden_state
        return self._read_out(hidden)[:, ::2, 0]


CONFIG = {
    "out_dir": "../models/linear_regression/x",
    "model": {
        "family": "gpt2",
        "n_dims": N_DIMS,
        "n_embd": N_EMBD,
        "n_head": N_HEAD,
        "n_layer": N_LAYER,
        "n_positions": N_POSITIONS,
    },
    "training": {
        "task": "linear_regression",
        "task_kwargs": {},
        "data": "gaussian",
        "curriculum": {"points": {"start": 3, "end": 5, "inc": 2, "interval": 2000}},
    },
}


def write_config(folder: Path, model=None, training=None):
    """CONFIG with some fields of `model` and `training` replaced."""
    config = {
        **CONFIG,
        "model": {**CONFIG["model"], **(model or {})},  # type: ignore[dict-item]
        "training": {**CONFIG["training"], **(training or {})},  # type: ignore[dict-item]
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def write_state(folder: Path, state, step=1000):
    """state.pt as their trainer writes it."""
    content = {"model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": []}, "train_step": step}
    torch.save(content, folder / "state.pt")
