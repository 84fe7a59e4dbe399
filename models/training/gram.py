"""Training linear self-attention on its small form: layers join one by one, Levenberg-Marquardt moves them all."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mesascope.models.architecture import RegressorConfig
from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError
from mesascope.models.prompts import Prompts
from mesascope.models.regressor import HookedRegressor
from mesascope.models.streams import generator
from mesascope.models.tasks import LinearRegression, Task
from mesascope.models.training.new_layer import fit_new_layer
from mesascope.models.training.processes import Processes
from mesascope.models.training.small_form import (
    Grams,
    Maps,
    context_grams,
    jacobian,
    predicted_weights,
    write_products,
)

CHUNK = 2048
TRIALS = (0.03, 0.2, 1.0, 5.0, 50.0)
"""Dampings tried in a step, as multiples of the last one that was taken."""


class GramTraining(Config):
    """Grow layer by layer, then polish; every step draws fresh prompts.

    The loss is a nonlinear least-squares problem in a few hundred numbers. A layer joins by alternating least squares;
    then `joint_steps` of Levenberg-Marquardt move all layers; when the last has had its steps, the rest of `n_steps`
    polishes: the gradient on many prompts, curvature averaged over steps, and shrinking steps.
    """

    trainer: Literal["gram"] = "gram"
    n_steps: int = Field(12, ge=1)
    joint_steps: tuple[int, ...] = (0, 6, 10, 30)
    """Levenberg-Marquardt steps after layer 1, 2, … joined; further layers take the last number."""
    n_fit: int = Field(4096, ge=1)
    """Prompts on which a new layer is fitted."""
    n_starts: int = Field(3, ge=1)
    """Random starts of a new layer; the one with the lowest loss is kept."""
    n_rounds: int = Field(8, ge=1)
    batch_size: int = Field(1024, ge=1)
    """Prompts of a joint step; as many choose the damping, and at least 4096."""
    joint_clip: float = Field(30.0, gt=0)
    """A prompt counts s log(1 + e/s), e its squared error and s this many medians of e."""
    polish_batch: int = Field(16_384, ge=1)
    polish_curvature: int = Field(1024, ge=1)
    """Prompts of a polishing step's curvature."""
    polish_clip: float = Field(1e6, gt=0)
    """As `joint_clip`; a million is practically the mean square."""

    def start(self, model: HookedRegressor, task: Task, seed: int, processes: Processes | None = None) -> "GramTrainer":
        """A trainer for one seed that writes into `model`.

        Raises:
            MesascopeError: There are several processes.
        """
        if processes is not None and processes.world > 1:
            raise MesascopeError("trainer 'gram' takes seconds in one process; run it without torchrun")
        return GramTrainer(self, model.cfg, task, [seed], model)

    def place(self, index: int, n_layers: int) -> tuple[int, int]:
        """Layers in use at a step, and the step's place in that stage (0 joins a layer); n_layers+1 polishes."""
        for layer in range(n_layers):
            steps = self.joint_steps[min(layer, len(self.joint_steps) - 1)]
            if index <= steps:
                return layer + 1, index
            index -= 1 + steps
        return n_layers + 1, index


@dataclass
class Descent:
    """Where one seed stands."""

    maps: Maps
    damping: float = 0.1
    scale: float = 0.0
    """Median squared error at the last step."""
    curvature: Tensor | None = None
    """Running mean of JᵀJ while polishing."""


class GramTrainer:
    """Trains several seeds one beside the other; `sync` writes the first of them into the hooked model.

    Raises:
        MesascopeError: The architecture is not single-head linear self-attention on joint tokens with the query
            outside the keys, or the task is no linear regression with one covariance of x for all prompts: for these
            alone is the small form, or its marginalised loss, exact.
    """

    def __init__(
        self,
        settings: GramTraining,
        cfg: RegressorConfig,
        task: Task,
        seeds: Sequence[int],
        model: HookedRegressor | None = None,
    ):
        exact = RegressorConfig.linear_self_attention(cfg.n_dims, cfg.n_points, cfg.n_layers, tied=cfg.tied)
        if cfg.model_copy(update={"init_scale": exact.init_scale}) != exact:
            raise MesascopeError(
                "trainer 'gram' is exact only for single-head linear self-attention (joint tokens, slots, no mask, "
                f"norm, bias or MLP, d_head={exact.d_head}); train this architecture with trainer 'tokens'"
            )
        if not isinstance(task, LinearRegression):
            raise MesascopeError(f"trainer 'gram' needs linear regression, got {task.name}; use trainer 'tokens'")
        self.settings, self.task, self.model, self.cfg = settings, task, model, cfg
        self.device = torch.device("cpu") if model is None else next(model.parameters()).device
        self.covariance = task.inputs.covariance(task.n_dims).to(self.device)
        self.seeds = tuple(seeds)
        D = cfg.n_dims + 1
        zeros = torch.zeros(1 if cfg.tied else cfg.n_layers, 2, D, D, dtype=torch.float64, device=self.device)
        self.descents = [Descent(zeros.clone()) for _ in seeds]

    @torch.no_grad()
    def step(self, index: int) -> Tensor:
        """One step of every seed; returns the mean of their losses on its fresh prompts, before the step."""
        return torch.stack([self._step(*pair, index) for pair in zip(self.seeds, self.descents, strict=True)]).mean()

    def _step(self, seed: int, at: Descent, index: int) -> Tensor:
        depth, place = self.settings.place(index, self.cfg.n_layers)
        if place == 0 and depth <= self.cfg.n_layers:
            return self._join(seed, at, index, depth)
        return self._move(seed, at, index, min(depth, self.cfg.n_layers), place if depth > self.cfg.n_layers else None)

    def _join(self, seed: int, at: Descent, index: int, depth: int) -> Tensor:
        """Add a layer; tied layers stay the one they are."""
        grams, w = self._sample(seed, self.settings.n_fit, index, "fit")
        if depth == 1 or not self.cfg.tied:
            at.maps[depth - 1] = fit_new_layer(
                self._used(at.maps, depth - 1) if depth > 1 else at.maps[:0],
                grams,
                w,
                self.covariance,
                generator(seed, "new layer", depth),
                self.settings.n_starts,
                self.settings.n_rounds,
            )
        errors = self._errors(self._used(at.maps, depth), grams, w)
        at.damping, at.scale = 0.1, errors.median().item()
        return errors.mean() + self.task.noise_std**2

    def _move(self, seed: int, at: Descent, index: int, depth: int, polish: int | None) -> Tensor:
        """A Levenberg-Marquardt step of all layers in use; its damping is chosen on further fresh prompts."""
        settings = self.settings
        n_prompts = settings.batch_size if polish is None else settings.polish_batch
        clip = at.scale * (settings.joint_clip if polish is None else settings.polish_clip)
        grams, w = self._sample(seed, n_prompts, index, "move")
        n_curved = n_prompts if polish is None else settings.polish_curvature
        gradient, H = self._normal_equations(at.maps, depth, grams, w, n_curved, clip)
        if polish is not None:
            H = H if at.curvature is None else 0.7 * at.curvature + 0.3 * H
            at.curvature = H
        grams, w = self._sample(seed, max(4096, n_prompts // 2), index, "damping")
        errors = self._errors(self._used(at.maps, depth), grams, w)
        best, chosen, damping = _clipped(errors, clip), at.maps, 10 * at.damping
        diagonal = H.diagonal() + 1e-9 * H.diagonal().mean()  # Marquardt's: whatever the scale of a weight
        for trial in TRIALS:
            factor, failed = torch.linalg.cholesky_ex(H + torch.diag(at.damping * trial * diagonal))
            if failed:
                continue
            update = torch.cholesky_solve(gradient[:, None], factor)[:, 0] / max(1, polish or 0)
            moved = at.maps.clone()
            moved.view(-1)[: len(update)] -= update
            loss = _clipped(self._errors(self._used(moved, depth), grams, w), clip)
            if loss < best:
                best, chosen, damping = loss, moved, at.damping * trial
        at.maps, at.damping, at.scale = chosen, min(max(damping, 1e-9), 1e4), errors.median().item()
        return errors.mean() + self.task.noise_std**2

    def _normal_equations(
        self, maps: Maps, depth: int, grams: Grams, w: Float[Tensor, "batch n_dims"], n_curved: int, clip: float
    ) -> tuple[Float[Tensor, " p"], Float[Tensor, "p p"]]:
        """Gradient on all prompts and JᵀJ on the first `n_curved`, each prompt weighted by 1/(1 + e/clip)."""
        used = self._used(maps, depth)
        root = torch.linalg.cholesky(self.covariance)
        p = (1 if self.cfg.tied else depth) * used[0].numel()
        gradient = torch.zeros(p, dtype=maps.dtype, device=maps.device)
        H = torch.zeros(p, p, dtype=maps.dtype, device=maps.device)
        for start, g, t in _chunks(grams, w):
            r = (predicted_weights(used, g) - t) @ root
            weight = 1 / (1 + r.square().sum(-1) / clip)
            gradient += self._flat(jacobian(used, g, ((weight[:, None] * r) @ root.T)[:, None])).sum((0, 1))
            if start < n_curved:
                few = slice(0, n_curved - start)
                cotangents = root.T.expand(len(t), -1, -1)[few]
                J = (self._flat(jacobian(used, g[few], cotangents)) * weight[few].sqrt()[:, None, None]).flatten(0, 1)
                H.addmm_(J.T, J)
        return gradient / len(w), H / min(n_curved, len(w))

    def _errors(self, used: Maps, grams: Grams, w: Float[Tensor, "batch n_dims"]) -> Float[Tensor, " batch"]:
        missed = torch.cat([predicted_weights(used, g) - t for _, g, t in _chunks(grams, w)])
        return torch.einsum("bi,ij,bj->b", missed, self.covariance, missed)

    def _used(self, maps: Float[Tensor, "n_maps 2 D D"], depth: int) -> Float[Tensor, "{depth} 2 D D"]:
        """The maps of the first `depth` layers."""
        return maps.expand(depth, -1, -1, -1) if self.cfg.tied else maps[:depth]

    def _flat(self, J: Float[Tensor, "batch k n_layers 2 D D"]) -> Float[Tensor, "batch k p"]:
        return (J.sum(2) if self.cfg.tied else J).flatten(2)

    def _sample(self, seed: int, n_prompts: int, index: int, purpose: str) -> tuple[Grams, Float[Tensor, "batch d"]]:
        prompts = self.task.sample(
            n_prompts, seed=seed, stream=f"train {index} {purpose}", device=self.device, dtype=torch.float64
        )
        assert prompts.w is not None
        return context_grams(prompts), prompts.w

    @torch.no_grad()
    def losses(self, prompts: Prompts) -> Float[Tensor, " n_seeds"]:
        """Mean squared error of each seed with the query marginalised."""
        assert prompts.w is not None
        grams, w = context_grams(prompts.to(torch.float64)), prompts.w.double()
        every = [self._errors(self._used(at.maps, self.cfg.n_layers), grams, w).mean() for at in self.descents]
        return torch.stack(every) + self.task.noise_std**2

    @torch.no_grad()
    def sync(self) -> None:
        """Write the first seed's weights into the hooked model."""
        if self.model is None:
            raise ValueError("this trainer was given no model to write to; read `descents` instead")
        maps = self._used(self.descents[0].maps, self.cfg.n_layers)
        write_products(self.model, maps, n_context=self.task.n_points - 1)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {"descents": [vars(at) for at in self.descents]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.descents = [Descent(**saved) for saved in state["descents"]]


def _clipped(errors: Float[Tensor, " batch"], clip: float) -> float:
    return (clip * torch.log1p(errors / clip)).mean().item()


def _chunks(grams: Grams, w: Float[Tensor, "batch n_dims"]) -> Iterator[tuple[int, Grams, Tensor]]:
    for index in range(math.ceil(len(w) / CHUNK)):
        part = slice(index * CHUNK, (index + 1) * CHUNK)
        yield part.start, grams[part], w[part]
