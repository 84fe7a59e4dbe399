"""The processes of a run: one, or those that torchrun started, held together by accelerate."""

import os
from typing import Any

import torch
from torch import Tensor, nn

from mesascope.models.devices import usable_device
from mesascope.models.errors import MesascopeError


def world_and_rank() -> tuple[int, int]:
    """Number of processes, and which this is; a rank without a world, as schedulers leave it, means nothing.

    Raises:
        MesascopeError: The environment holds no numbers.
    """
    try:
        world, rank = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0")))
    except ValueError as error:
        raise MesascopeError(f"WORLD_SIZE and RANK are not torchrun's ({error}); unset them") from error
    return world, rank if world > 1 else 0


class Processes:
    """How a step is shared. In one process every method is the identity.

    Args:
        device: Where to train; under torchrun each process takes the CUDA device of its local rank.

    Raises:
        MesascopeError: There is no such device.
    """

    def __init__(self, device: str = "cpu"):
        self.world, self.rank = world_and_rank()
        kind = usable_device(device).type
        self.device = usable_device(f"cuda:{os.environ['LOCAL_RANK']}" if self._shared and kind == "cuda" else device)
        # Accelerate's state outlives a run, so it comes in only where the process is ours alone.
        self._accelerator: Any = None
        if self._shared:
            from accelerate import Accelerator

            self._accelerator = Accelerator(cpu=kind == "cpu")

    @property
    def _shared(self) -> bool:
        return self.world > 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def share(self, index: int, batch_size: int) -> tuple[int, int]:
        """First prompt and number of prompts of this process in step `index`: together the same for any world size.

        Raises:
            MesascopeError: The batch does not divide.
        """
        if batch_size % self.world:
            raise MesascopeError(
                f"training.batch_size={batch_size} does not divide by {self.world} processes; choose a multiple"
            )
        count = batch_size // self.world
        return index * batch_size + self.rank * count, count

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over processes."""
        return self._accelerator.prepare_model(module) if self._shared else module

    def mean(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        return self._accelerator.reduce(value, reduction="mean") if self._shared else value

    def sum(self, value: Tensor) -> Tensor:
        """The sum over processes, in the value's own precision."""
        return self._accelerator.reduce(value, reduction="sum") if self._shared else value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all must ask at the same step."""
        if not self._shared:
            return flag
        total = self._accelerator.reduce(torch.tensor(float(flag), device=self.device), reduction="sum")
        return bool(total > 0)

    def agree(self, number: int) -> bool:
        """Whether the number is the same in all processes."""
        own = torch.tensor(float(number), device=self.device)
        return not self.any(bool(self.mean(own.clone()) != own))

    def wait(self) -> None:
        """Wait for all processes."""
        if self._shared:
            self._accelerator.wait_for_everyone()

    def end(self) -> None:
        """Wait for all processes, then let go of them: one that left first could abort in its own clean-up."""
        if self._shared:
            self._accelerator.wait_for_everyone()
            torch.distributed.destroy_process_group()
