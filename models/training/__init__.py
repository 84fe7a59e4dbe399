"""Training: two trainers, one run folder."""

from mesascope.models.training.config import RunConfig
from mesascope.models.training.gram import GramTrainer, GramTraining
from mesascope.models.training.run import save, train
from mesascope.models.training.tokens import TokenTraining

__all__ = ["GramTrainer", "GramTraining", "RunConfig", "TokenTraining", "save", "train"]
