"""Where tensors live, and whether they fit."""

import torch

from mesascope.models.errors import MesascopeError


def usable_device(device: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        MesascopeError: There is no such device here, or it holds no numbers.
    """
    try:
        found = torch.empty(1, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise MesascopeError(f"cannot use device {device!r}: {str(error).splitlines()[0]}; use cpu") from error
    if found.type == "meta":
        raise MesascopeError("cannot use device 'meta': it holds no numbers; use cpu")
    return found


def lacks_memory(error: Exception) -> bool:
    """Whether an error says that memory did not suffice."""
    # torch tells a CPU's lack of memory by words alone.
    words = ("can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(said in str(error) for said in words)
    )
