"""Which hook points somebody listens to, and which names a pattern means."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn
from transformer_lens import HookedRootModule

from mesascope.models.errors import MesascopeError, nearest

HookNames = str | Sequence[str] | Callable[[str], bool]
"""A glob such as `"*hook_resid_post"`, several of them, or a predicate on names."""


def listened(point: nn.Module) -> bool:
    """Whether anything would notice if this hook point were skipped; plain PyTorch hooks count."""
    return bool(point._forward_hooks or point._forward_pre_hooks or point._backward_hooks or point._backward_pre_hooks)


def resolve_hooks(model: HookedRootModule, names: HookNames) -> list[str]:
    """The hook names that `names` means, in the order of the model's `hook_dict`.

    Raises:
        MesascopeError: A pattern matches nothing; the message suggests the nearest name. (TransformerLens would
            return an empty cache silently.)
    """
    known = list(model.hook_dict)
    if callable(names):
        found = {name for name in known if names(name)}
        if not found:
            raise MesascopeError(f"the hook predicate accepts none of the model's {len(known)} hooks")
        return [name for name in known if name in found]
    found = set()
    for pattern in [names] if isinstance(names, str) else names:
        matched = {name for name in known if fnmatchcase(name, pattern)}
        if not matched:
            raise MesascopeError(f"no hook is called {pattern!r}{nearest(pattern, known)}")
        found |= matched
    return [name for name in known if name in found]
