"""How a model in training stands against the reference learner, on prompts it is never trained on."""

import torch

from mesascope.models.learners.base import Learner
from mesascope.models.regressor import HookedRegressor
from mesascope.models.tasks import Task

N_PROMPTS = 256


class HeldOut:
    """A fixed sample of a task with the loss of a reference learner on it."""

    def __init__(self, task: Task, model: HookedRegressor, seed: int, reference: Learner):
        weight = next(model.parameters())
        self.task, self.model = task, model
        self.prompts = task.sample(N_PROMPTS, seed=seed, stream="held out", device=weight.device, dtype=weight.dtype)
        self._read = model.read_points(task.n_points)
        self._best = self._mean(reference.predict(self.prompts)[:, list(self._read)])

    def _mean(self, preds: torch.Tensor) -> float:
        return self.task.counted_losses(preds, self.prompts.ys.to(preds), self._read).mean().item()

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """`held_out`, the mean loss over the points that count; `excess`, how far it is above the reference's.

        The excess is in units of the loss of predicting zero.
        """
        loss = self._mean(self.model(self.prompts.xs, self.prompts.ys))
        return {"held_out": loss, "excess": (loss - self._best) / self.task.null_loss}
