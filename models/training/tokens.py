"""Training on tokens: Muon for the hidden matrices and AdamW for everything else, or Adam for all."""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mesascope.models.config import Config
from mesascope.models.errors import MesascopeError
from mesascope.models.regressor import HookedRegressor
from mesascope.models.tasks import Task
from mesascope.models.training.curriculum import Curriculum
from mesascope.models.training.processes import Processes
from mesascope.models.training.schedule import warmup_cosine


class TokenTraining(Config):
    """Minimise the task's loss over all points that the model reads and the task scores.

    Muon (Jordan et al., 2024) on the matrices inside the blocks, AdamW on read-in, positions, norms, biases and
    read-out; both follow one schedule. At d=5 Muon ends at a third of AdamW's excess loss (measured).
    """

    trainer: Literal["tokens"] = "tokens"
    n_steps: int = Field(6000, ge=1)
    batch_size: int = Field(64, ge=1)
    optimizer: Literal["muon", "adam"] = "muon"
    lr: float = Field(0.02, gt=0)
    """Learning rate of Muon, or of Adam for all weights."""
    adamw_lr: float = Field(3e-3, gt=0)
    """Learning rate of what Muon does not train."""
    beta2: float = Field(0.999, gt=0, lt=1)
    """Adam's."""
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = Field(200, ge=0)
    clip_norm: float | None = Field(None, gt=0)
    """Bound on the norm of the gradient."""
    n_extra_points: int = Field(0, ge=0)
    """Points by which training prompts are longer than the task's: the last few are never copied."""
    curriculum: Curriculum = Curriculum()
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is mixed: autocast around the forward pass, weights and optimiser in float32."""
    compile: bool = False
    """Compile the training callable; hooks are then seen by the uncompiled model alone."""

    def start(
        self, model: HookedRegressor, task: Task, seed: int, processes: Processes | None = None
    ) -> "TokenTrainer":
        """A trainer that updates `model` in place, in one process by default."""
        return TokenTrainer(self, model, task, seed, processes or Processes())


class TokenTrainer:
    """Updates a hooked model in place, one fresh batch a step."""

    def __init__(
        self,
        settings: TokenTraining,
        model: HookedRegressor,
        task: Task,
        seed: int,
        processes: Processes,
    ):
        self.settings, self.model, self.seed, self.processes = settings, model, seed, processes
        self.processes.share(0, settings.batch_size)  # refused here rather than in the first step
        self.task = task.model_copy(update={"n_points": task.n_points + settings.n_extra_points})
        first = settings.curriculum.points(0, self.task.n_points)
        if not self.task.counted(model.read_points(first), first):
            raise MesascopeError(
                f"prompts of {first} points have none that the model reads and the task {task.name} scores; raise "
                "task.n_points or training.curriculum.n_points.start"
            )
        self.device = next(model.parameters()).device
        self.forward: Any = self.processes.parallel(model)
        if settings.compile:
            self.forward = torch.compile(self.forward)
        betas = (0.9, settings.beta2)
        hidden = [p for p in model.blocks.parameters() if p.ndim == 2] if settings.optimizer == "muon" else []
        others = [p for p in model.parameters() if not any(p is h for h in hidden)]
        self.optimizers: list[torch.optim.Optimizer] = []
        if hidden:
            self.optimizers.append(torch.optim.Muon(hidden, lr=settings.lr, weight_decay=0.0))
        if others:  # linear self-attention has nothing but matrices
            lr = settings.adamw_lr if settings.optimizer == "muon" else settings.lr
            self.optimizers.append(torch.optim.AdamW(others, lr=lr, betas=betas, weight_decay=0.0))
        self.peaks = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]

    def step(self, index: int) -> Tensor:
        """One step; returns the loss of this process's share of the batch."""
        loss = self._loss(index)
        rate = self._rate(index)
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate
            optimizer.zero_grad()
        loss.backward()
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.detach()

    def _loss(self, index: int) -> Tensor:
        curriculum, task = self.settings.curriculum, self.task
        start, count = self.processes.share(index, self.settings.batch_size)
        n_points = curriculum.points(index, task.n_points)
        prompts = task.model_copy(update={"n_points": n_points}).sample(
            count,
            seed=self.seed,
            stream="train",
            start=start,
            device=self.device,
            n_active=curriculum.dims(index, task.n_dims),
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16"):
            preds = self.forward(prompts.xs, prompts.ys)
        return task.counted_losses(preds.float(), prompts.ys, self.model.read_points(n_points)).mean()

    def _rate(self, index: int) -> float:
        settings = self.settings
        if settings.schedule == "constant":
            return min(1.0, (index + 1) / (settings.warmup + 1))
        return warmup_cosine(index, settings.n_steps, settings.warmup)

    def sync(self) -> None:
        """Nothing to do: the model is what is trained."""

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {"weights": self.model.weights, "optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        weights, own = state["weights"], dict(self.model.named_parameters())
        if {name: w.shape for name, w in weights.items()} != {name: p.shape for name, p in own.items()}:
            raise ValueError("its weights are of another architecture")
        for name, parameter in own.items():
            parameter.copy_(weights[name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
