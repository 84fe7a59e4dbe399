"""How a model in training stands against the reference learner, on prompts it is never trained on."""

import torch

from mesascope.models.learners.base import Learner
from mesascope.models.regressor import HookedRegressor
from mesascope.models.tasks import Task

N_PROMPTS = 256


class HeldOut:
    """A fixed sample of a task with the loss of a reference learner on it."""

    def __init__(self, task: Task, model: HookedRegressor, seed: int, reference: Learner | None):
        weight = next(model.parameters())
        self.task, self.model = task, model
        self.prompts = task.sample(N_PROMPTS, seed=seed, stream="held out", device=weight.device, dtype=weight.dtype)
        read = list(model.read_points(task.n_points))
        scored = set(task.scored(task.n_points))
        self._read = read
        self._counts = [place for place, point in enumerate(read) if point in scored]
        self._best = None if reference is None else self._mean(reference.predict(self.prompts)[:, read])

    def _mean(self, preds: torch.Tensor) -> float:
        ys = self.prompts.ys[:, self._read].to(preds)
        return self.task.loss(preds, ys)[:, self._counts].mean().item()

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """`held_out`, the mean loss over the points that count; `excess`, how far it is above the reference's.

        The excess is in units of the loss of predicting zero.
        """
        loss = self._mean(self.model(self.prompts.xs, self.prompts.ys))
        excess = {} if self._best is None else {"excess": (loss - self._best) / self.task.null_loss}
        return {"held_out": loss, **excess}
