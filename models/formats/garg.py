"""Run folders of Garg et al. (2022), which Fu et al. (2024) also use: config.yaml and state.pt or model_<step>.pt."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import ValidationError
from torch import Tensor

from mesascope.models.architecture import RegressorConfig
from mesascope.models.errors import MesascopeError, first_complaint
from mesascope.models.foreign_files import PlainLoader, read_pickle_safely, read_text
from mesascope.models.formats.checkpoint import (
    Checkpoint,
    Format,
    load_weights,
    with_scale,
)
from mesascope.models.formats.garg_tasks import task_of
from mesascope.models.regressor import HookedRegressor
from mesascope.models.tasks import Regression

MAX_LAYERS = 1000
"""A config that asks for more is broken, and would fill the memory before its weights could contradict it."""

_STEP = re.compile(r"model_(0|[1-9]\d{0,17})\.pt")
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


def translate(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Garg's state dict under `HookedRegressor`'s names; unknown names pass through, to be reported.

    Raises:
        MesascopeError: A name comes twice.
    """
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        name = name.removeprefix("module.")
        if _DROPPED.fullmatch(name):
            continue
        layer = re.search(r"\.h\.(\d+)\.", name)
        pattern = name if layer is None else name.replace(layer.group(0), ".h.{}.", 1)
        if name in _TRANSPOSED:
            ours, tensor = _TRANSPOSED[name], tensor.T.contiguous() if tensor.ndim == 2 else tensor
        elif pattern in _NAMES:
            ours = _NAMES[pattern].format(layer and layer.group(1))
        else:
            ours = name
        if ours in out:
            raise MesascopeError(f"{path}: {name!r} is there twice, with and without `module.`; keep one")
        out[ours] = tensor
    return out


class GargFormat(Format):
    """A folder saved by the code of Garg et al. (2022) or Fu et al. (2024), or one of its .pt files."""

    name: ClassVar[str] = "garg"
    expected: ClassVar[str] = "a folder with config.yaml, or a .pt file in it"

    def recognises(self, path: Path) -> bool:
        """A folder with config.yaml, or a .pt file."""
        return (path / "config.yaml").exists() or (path.suffix == ".pt" and path.is_file())

    def steps(self, path: Path) -> dict[int, Path]:
        """The files model_<step>.pt."""
        found = ((_STEP.fullmatch(file.name), file) for file in path.glob("model_*.pt"))
        return {int(match[1]): file for match, file in found if match}

    def load(self, path: Path, w_std: float | None) -> Checkpoint:
        """Read a folder's state.pt, without one its last step, or one file.

        Raises:
            MesascopeError: The config is not of this format, or its task or model family is not supported, or the
                weights are missing, hostile, truncated or of another model.
        """
        folder = path if path.is_dir() else path.parent
        if not (folder / "config.yaml").exists():
            raise MesascopeError(
                f"{path} has no config.yaml beside it; copy the whole run folder of Garg et al.'s code"
            )
        config, file = _config(folder / "config.yaml"), self._newest(path) if path.is_dir() else path
        cfg, task = _describe(config, folder / "config.yaml")
        weights = translate(_state_dict(file), file)
        _check_size(cfg, weights, file)
        model = HookedRegressor(cfg)
        load_weights(model, weights, file)
        about = _about(config["training"])
        return Checkpoint(
            model, with_scale(task, w_std), str(path), self.name, seed=None, w_std_known=False, about=about
        )

    def _newest(self, folder: Path) -> Path:
        steps = self.steps(folder)
        if (folder / "state.pt").exists():
            return folder / "state.pt"
        if not steps:
            raise MesascopeError(
                f"{folder} has a config.yaml but neither state.pt nor model_<step>.pt; copy the whole folder"
            )
        return steps[max(steps)]


def _config(path: Path) -> dict[str, Any]:
    try:
        config = yaml.load(read_text(path), PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # the reader's, a date's, a bracket's ten thousandth
        if isinstance(error, MesascopeError):
            raise
        reason = next(iter(str(error).splitlines()), "")
        raise MesascopeError(
            f"{path} is not YAML ({reason:.160}); expected the config of Garg et al.'s code"
        ) from error
    if not isinstance(config, dict) or not all(isinstance(config.get(part), dict) for part in ("model", "training")):
        raise MesascopeError(f"{path} has no `model` and `training`; expected the config of Garg et al.'s code")
    return config


def _state_dict(path: Path) -> dict[str, Tensor]:
    content = read_pickle_safely(path)
    state = content.get("model_state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise MesascopeError(f"{path} holds no state_dict (got {type(content).__name__}); expected name → tensor")
    return state


def _describe(config: dict[str, Any], path: Path) -> tuple[RegressorConfig, Regression]:
    try:
        cfg = _architecture(config["model"])
        task = task_of(config["training"], cfg.n_dims)
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise MesascopeError(
            f"{path} lacks a field or has it ill-typed ({error}); expected Garg et al.'s config"
        ) from error
    except ValidationError as error:
        raise MesascopeError(
            f"{path} does not describe a model and a task ({first_complaint(error)}); expected Garg et al.'s config"
        ) from error
    except MesascopeError as error:
        raise MesascopeError(
            f"{path}: {' '.join(str(error).split())}"
        ) from error  # the file's own words may break lines
    if task.n_points > cfg.n_points:
        raise MesascopeError(
            f"{path}: training.curriculum.points.end={task.n_points} but model.n_positions={cfg.n_points}; expected "
            "prompts no longer than the model has positions for"
        )
    return cfg, task


def _architecture(model: dict[str, Any]) -> RegressorConfig:
    if model["family"] != "gpt2":
        # Their config allows "lstm" too, but their published code has no such class, so its weights' names are unknown.
        raise MesascopeError(f"model.family={model['family']!r} is not supported; expected 'gpt2'")
    n_layers, used = model["n_layer"], model.get("use_first_n_layer")
    if n_layers > MAX_LAYERS:
        raise MesascopeError(f"model.n_layer={n_layers}; expected at most {MAX_LAYERS}. Take the config of the run")
    if used is not None and used < n_layers:
        # Fu et al.'s option: the read-out is then of that layer's residual stream, without the final norm.
        raise MesascopeError(
            f"model.use_first_n_layer={used} of n_layer={n_layers} is not supported; expected the whole model: attach "
            "the run whose layers were frozen, and fit its readouts here"
        )
    return RegressorConfig(
        n_dims=model["n_dims"],
        n_points=model["n_positions"],
        n_layers=n_layers,
        n_heads=model["n_head"],
        d_model=model["n_embd"],
        d_head=model["n_embd"] // model["n_head"],
        d_mlp=4 * model["n_embd"],
    )


def _check_size(cfg: RegressorConfig, weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse another architecture before a model of the config's size, which may be any, is built."""
    positions = weights.get("embed.W_pos")
    if positions is None:
        raise MesascopeError(
            f"{path} has no _backbone.wpe.weight: not a GPT-2 backbone of Garg et al.; expected a state_dict of "
            "their TransformerModel"
        )
    found = {
        "n_layer": len({name.split(".")[1] for name in weights if name.startswith("blocks.")}),
        "2*n_positions, n_embd": tuple(positions.shape),
    }
    asked = {"n_layer": cfg.n_layers, "2*n_positions, n_embd": (2 * cfg.n_points, cfg.d_model)}
    for field, got in found.items():
        if got != asked[field]:
            raise MesascopeError(
                f"{path} has {field} = {got} but the config asks for {asked[field]}; config and weights are of "
                "different models"
            )


def _about(training: dict[str, Any]) -> str:
    """What the config says that the task here cannot."""
    pools = {"num_tasks": "tasks", "num_training_examples": "prompts"}
    said = [f"{training[field]} {what}" for field, what in pools.items() if training.get(field) is not None]
    return f"Trained on a pool of {' and '.join(said)}; the task here draws fresh ones." if said else ""
