"""Everything that determines a run; a preset is one of these in YAML, a run's config.json one in JSON."""

import math
from typing import Annotated

from pydantic import Field, model_validator

from mesascope.models.architecture import RegressorConfig
from mesascope.models.config import Config
from mesascope.models.learners import GradientDescent, GradientDescentPlusPlus, Learner
from mesascope.models.tasks import AnyTask, TokenSequence
from mesascope.models.training.gram import GramTraining
from mesascope.models.training.tokens import TokenTraining


class Rival(Config):
    """The learner to hold a model against where the task's reference says little: GD++ tuned for task and depth.

    Without `gammas` it is gradient descent with a step size per step.
    """

    etas: tuple[float, ...] = Field(min_length=1)
    gammas: tuple[float, ...] = ()

    def learner(self) -> Learner:
        """The learner."""
        if len(self.etas) == 1:
            return GradientDescent(1, self.etas[0])
        return GradientDescentPlusPlus(self.etas, self.gammas + (0.0,) * (len(self.etas) - len(self.gammas)))


class RunConfig(Config):
    """A model, a task, how it is trained, and a seed."""

    about: str = ""
    model: RegressorConfig
    task: AnyTask
    training: Annotated[TokenTraining | GramTraining, Field(discriminator="trainer")] | None = None
    """How it is trained; None for a model that was not trained here."""
    rival: Rival | None = None
    """What the log and the zoo hold the model against, in place of the task's reference learner."""
    checkpoints_per_doubling: int = Field(1, ge=1)
    """How many checkpoints are kept each time that the number of steps doubles."""
    seed: int = 0
    version: str = ""
    """mesascope's version that trained it; empty in a preset."""
    command: str = ""
    """The command that made it; empty in a preset."""

    @model_validator(mode="after")
    def _model_fits_task(self) -> "RunConfig":
        for name in ("n_dims", "d_out"):
            if getattr(self.task, name) != getattr(self.model, name):
                raise ValueError(
                    f"task.{name}={getattr(self.task, name)} but model.{name}={getattr(self.model, name)}; "
                    "make them equal"
                )
        if isinstance(self.task, TokenSequence) != (self.model.layout == "sequence"):
            raise ValueError(
                f"the task {self.task.name} with model.layout={self.model.layout!r}: sequences of tokens need "
                "the layout 'sequence', in which y never enters, and no other task can be learned in it"
            )
        n_points = self.task.n_points + getattr(self.training, "n_extra_points", 0)
        if self.model.positions == "learned" and n_points > self.model.n_points:
            raise ValueError(
                f"training prompts have {n_points} points but the model has positions for {self.model.n_points}; "
                "raise model.n_points"
            )
        return self

    def reference(self) -> Learner:
        """The rival, or the task's reference learner."""
        return self.task.reference() if self.rival is None else self.rival.learner()

    def keeps(self, step: int) -> bool:
        """Whether a checkpoint of this step is kept: 0, the logarithmic grid, and the last step."""
        if step == 0 or (self.training is not None and step == self.training.n_steps):
            return True
        k = self.checkpoints_per_doubling
        exponent = round(k * math.log2(step))
        return step == round(2 ** (exponent / k))
