"""How several processes share the prompts of one measurement."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mesascope.models.training.processes import Processes


@dataclass(frozen=True)
class Share:
    """Every `world`-th batch from `rank` on, and how what was added up of them joins with the others' sums.

    Batches keep their index, and with it the block of prompts that they belong to: intervals do not depend on the
    number of processes.
    """

    rank: int = 0
    world: int = 1
    total: Callable[[Tensor], Tensor] = lambda own: own
    """The sum of a tensor over all processes, which must ask for the same sums in the same order."""

    @classmethod
    def of(cls, processes: Processes) -> "Share":
        """This process' share of what torchrun started."""
        return cls(processes.rank, processes.world, processes.sum)

    @property
    def taken(self) -> slice:
        """The indices of its batches."""
        return slice(self.rank, None, self.world)


WHOLE = Share()
"""The share of a process that is alone."""
