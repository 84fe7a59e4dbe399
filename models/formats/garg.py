"""Run folders of Garg et al. (2022), which Fu et al. (2024) also use: config.yaml and state.pt or model_<step>.pt."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import ValidationError
from torch import Tensor

from mesascope.models.errors import MesascopeError
from mesascope.models.formats.checkpoint import Checkpoint, Format, load_weights, read_pickle_safely, read_text
from mesascope.models.regressor import HookedRegressor, RegressorConfig
from mesascope.models.tasks import LinearRegression

# Hugging Face's Conv1D stores [in, out] with q|k|v packed, which is also how `Attention` stores them.
_NAMES = {
    "_read_in.bias": "embed.b_E",
    "_backbone.wpe.weight": "embed.W_pos",
    "_backbone.ln_f.weight": "ln_final.w",
    "_backbone.ln_f.bias": "ln_final.b",
    "_read_out.bias": "unembed.b_U",
    **{
        f"_backbone.h.{{}}.{theirs}": f"blocks.{{}}.{ours}"
        for theirs, ours in {
            "ln_1.weight": "ln1.w",
            "ln_1.bias": "ln1.b",
            "attn.c_attn.weight": "attn.qkv_weight",
            "attn.c_attn.bias": "attn.qkv_bias",
            "attn.c_proj.weight": "attn.out_weight",
            "attn.c_proj.bias": "attn.out_bias",
            "ln_2.weight": "ln2.w",
            "ln_2.bias": "ln2.b",
            "mlp.c_fc.weight": "mlp.W_in",
            "mlp.c_fc.bias": "mlp.b_in",
            "mlp.c_proj.weight": "mlp.W_out",
            "mlp.c_proj.bias": "mlp.b_out",
        }.items()
    },
}
_TRANSPOSED = {"_read_in.weight": "embed.W_E", "_read_out.weight": "unembed.W_U"}
# The unused token embedding, and the causal-mask buffers that transformers 4.17 saved (not c_attn.bias).
_DROPPED = re.compile(r"_backbone\.(wte\.weight|h\.\d+\.attn\.(masked_)?bias)")


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Garg's state dict under `HookedRegressor`'s names; unknown names pass through, to be reported."""
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        name = name.removeprefix("module.")
        if _DROPPED.fullmatch(name):
            continue
        layer = re.search(r"\.h\.(\d+)\.", name)
        pattern = name if layer is None else name.replace(layer.group(0), ".h.{}.", 1)
        if name in _TRANSPOSED:
            out[_TRANSPOSED[name]] = tensor.T.contiguous() if tensor.ndim == 2 else tensor
        else:
            out[_NAMES.get(pattern, name).format(layer and layer.group(1))] = tensor
    return out


class GargFormat(Format):
    """A folder saved by the code of Garg et al. (2022) or Fu et al. (2024)."""

    name: ClassVar[str] = "garg"
    marker: ClassVar[str] = "config.yaml"

    def load(self, folder: Path, w_std: float | None) -> Checkpoint:
        """Read the newest weights of the folder.

        Raises:
            MesascopeError: The config is not of this format, or its task or model family is not supported, or the
                weights are missing, hostile, truncated or of another model.
        """
        config = self._config(folder / "config.yaml")
        path = self._weights_file(folder)
        content = read_pickle_safely(path)
        state = content.get("model_state_dict", content) if isinstance(content, dict) else None
        if not isinstance(state, dict) or not all(
            isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
        ):
            raise MesascopeError(f"{path} holds no state_dict (got {type(content).__name__}); expected name → tensor")
        weights = translate(state)
        if "embed.W_pos" not in weights:
            raise MesascopeError(f"{path} has no _backbone.wpe.weight: not a GPT-2 backbone of Garg et al.")
        try:
            cfg, task = self._model(config, len(weights["embed.W_pos"]) // 2), self._task(config, w_std)
        except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise MesascopeError(
                f"{folder / 'config.yaml'} lacks a field or has it ill-typed ({error}); expected Garg et al.'s config"
            ) from error
        except ValidationError as error:
            raise MesascopeError(
                f"{folder / 'config.yaml'} does not describe a model ({error.errors()[0]['msg']})"
            ) from error
        model = HookedRegressor(cfg)
        load_weights(model, weights, path)
        return Checkpoint(model, task, str(folder), self.name, seed=None, w_std_known=False)

    @staticmethod
    def _config(path: Path) -> dict[str, Any]:
        try:
            config = yaml.safe_load(read_text(path))
        except yaml.YAMLError as error:
            raise MesascopeError(f"{path} is not YAML ({str(error).splitlines()[0]})") from error
        if not isinstance(config, dict) or not {"model", "training"} <= config.keys():
            raise MesascopeError(f"{path} has no `model` and `training`; expected the config of Garg et al.'s code")
        return config

    @staticmethod
    def _weights_file(folder: Path) -> Path:
        steps = {int(m[1]): p for p in folder.glob("model_*.pt") if (m := re.fullmatch(r"model_(\d+)\.pt", p.name))}
        if (folder / "state.pt").exists():
            return folder / "state.pt"
        if not steps:
            raise MesascopeError(f"{folder} has a config.yaml but neither state.pt nor model_<step>.pt")
        return steps[max(steps)]

    @staticmethod
    def _model(config: dict[str, Any], n_points: int) -> RegressorConfig:
        model = config["model"]
        if model["family"] != "gpt2":
            raise MesascopeError(f"model family {model['family']!r} is not supported; expected 'gpt2'")
        return RegressorConfig(
            n_dims=model["n_dims"],
            n_points=n_points,
            n_layers=model["n_layer"],
            n_heads=model["n_head"],
            d_model=model["n_embd"],
            d_head=model["n_embd"] // model["n_head"],
            d_mlp=4 * model["n_embd"],
        )

    @staticmethod
    def _task(config: dict[str, Any], w_std: float | None) -> LinearRegression:
        training, n_dims = config["training"], config["model"]["n_dims"]
        unusual = {
            "training.data": (training.get("data", "gaussian"), "gaussian"),
            "training.curriculum.dims.end": (training["curriculum"].get("dims", {}).get("end", n_dims), n_dims),
            "training.task_kwargs.renormalize_ys": (
                bool((training.get("task_kwargs") or {}).get("renormalize_ys", False)),
                False,
            ),
        }
        for field, (got, expected) in unusual.items():
            if got != expected:
                raise MesascopeError(f"{field}={got!r} is not supported yet; expected {expected!r}")
        if training["task"] not in ("linear_regression", "noisy_linear_regression"):
            raise MesascopeError(
                f"task {training['task']!r} is not supported yet; expected linear_regression or noisy_linear_regression"
            )
        options = training.get("task_kwargs") or {}
        return LinearRegression(
            n_dims=config["model"]["n_dims"],
            n_points=training["curriculum"]["points"]["end"],
            noise_std=options.get("noise_std", 0.0),
            w_std=options.get("scale", 1.0) if w_std is None else w_std,
        )
