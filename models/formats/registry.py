"""From an address to a model: where it is, what format it has, which step of it, and whether its untrained twin."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from os.path import exists
from pathlib import Path

from mesascope.models.errors import MesascopeError, nearest
from mesascope.models.formats.checkpoint import Checkpoint, Format
from mesascope.models.formats.garg import GargFormat
from mesascope.models.formats.hub import snapshot
from mesascope.models.formats.matrices import MatricesFormat
from mesascope.models.formats.native import NativeFormat
from mesascope.models.formats.zoo import specimen, zoo_names

FORMATS: tuple[Format, ...] = (NativeFormat(), GargFormat(), MatricesFormat())
"""All formats, the first that recognises a path loads it; a new one is one file and its entry here."""

SOURCES: dict[str, Callable[[str], AbstractContextManager[Path]]] = {"zoo:": specimen, "hf://": snapshot}
"""Where checkpoints come from besides the disk: a prefix, and a local path for what stands behind it."""

_WHICH = re.compile(r"(@step-(?P<step>\d{1,18}))?(?P<twin>@untrained(-(?P<seed>\d{1,18}))?)?")


@dataclass(frozen=True)
class Address:
    """PLACE[@step-N][@untrained[-SEED]]."""

    place: str
    step: int | None
    twin_seed: int | None

    @classmethod
    def parse(cls, source: str) -> "Address":
        """What a source means; as much of it is the place as is there by just this name.

        Raises:
            MesascopeError: It names no place.
        """
        found = {at: which for at in range(len(source) + 1) if (which := _WHICH.fullmatch(source, at))}
        # A folder may be called runs/a@step-3: then it is no step of runs/a, which may be there too.
        at = max((at for at in found if exists(source[:at])), default=min(found))
        if not source[:at]:
            raise MesascopeError(f"{source!r} names no checkpoint; expected a run folder or zoo:NAME")
        which = found[at]
        step = None if which["step"] is None else int(which["step"])
        return cls(source[:at], step, int(which["seed"] or 0) if which["twin"] else None)


def load(source: str | Path, w_std: float | None = None) -> Checkpoint:
    """Load a checkpoint.

    Args:
        source: PLACE, PLACE@step-N for a step that a run folder keeps, and either followed by `@untrained` or
            `@untrained-SEED` for the same architecture with fresh weights; a file or folder of just this name is a
            PLACE. PLACE is a run folder (mesascope's own, or
            Garg et al.'s), a file in it (`checkpoints/step_N.safetensors`, `model_<step>.pt`), plain matrices
            (`.npz`, see `formats/matrices.py`), `zoo:NAME`, or `hf://OWNER/NAME[@REVISION][/PATH]`.
        w_std: Scale of w where the checkpoint does not record it, or to overrule it; None means the recorded one, or 1.

    Raises:
        MesascopeError: There is no such checkpoint, it cannot be read, or w_std is not positive.
    """
    check_scale(w_std)
    address = Address.parse(str(source))
    with _locate(address.place) as path:
        format = _format_of(path, address.place)
        if address.step is not None:
            path = _file_of_step(format, path, address)
        loaded = replace(format.load(path, w_std), source=str(source))
    if address.twin_seed is None:
        return loaded
    return replace(
        loaded,
        model=loaded.model.untrained_twin(address.twin_seed).eval(),
        seed=address.twin_seed,
        about=f"Untrained twin of {address.place}.",
        command="",
    )


def checkpoints_of(source: str | Path) -> list[tuple[int, str]]:
    """The steps that a run keeps, in order, each with the address to `load` it by; empty if it keeps none.

    Args:
        source: A run folder, `zoo:NAME` or `hf://OWNER/NAME[@REVISION][/PATH]`.

    Raises:
        MesascopeError: It is not there, of no known format, or already names a step or a twin.
    """
    address = Address.parse(str(source))
    if address.step is not None or address.twin_seed is not None:
        raise MesascopeError(f"{source} is one checkpoint of a run; give the run itself, {address.place}")
    with _locate(address.place) as path:
        steps = _format_of(path, address.place).steps(path)
    return [(step, f"{address.place}@step-{step}") for step in sorted(steps)]


def _locate(place: str) -> AbstractContextManager[Path]:
    for prefix, find in SOURCES.items():
        if place.startswith(prefix):
            return find(place.removeprefix(prefix))
    return nullcontext(Path(place))


def _format_of(path: Path, place: str) -> Format:
    try:
        exists = path.exists()
        for format in FORMATS:
            if format.recognises(path):
                return format
    except OSError as error:  # no permission, or a name that no file can have
        raise MesascopeError(f"cannot read {place:.200}: {error.strerror or error}; check the path") from error
    if not exists:
        raise MesascopeError(
            f"{place} does not exist; expected a run folder or zoo:NAME, an .npz file or hf://OWNER/NAME"
            f"{nearest(place, [f'zoo:{name}' for name in zoo_names()])}"
        )
    known = "; ".join(f"{format.expected} ({format.name})" for format in FORMATS)
    raise MesascopeError(f"{place} is a {'folder' if path.is_dir() else 'file'} of no known format; expected {known}")


def _file_of_step(format: Format, path: Path, address: Address) -> Path:
    steps = format.steps(path)
    if not steps:
        raise MesascopeError(f"{address.place} keeps no steps, so no @step-{address.step}; load it without")
    if address.step not in steps:
        assert address.step is not None
        close = sorted(sorted(steps, key=lambda step: abs(step - address.step))[:5])  # type: ignore[operator]
        raise MesascopeError(
            f"{address.place} keeps no step {address.step}; the nearest of {len(steps)}: {', '.join(map(str, close))}"
        )
    return steps[address.step]


def check_scale(w_std: float | None) -> None:
    """Refuse a scale of w that is none.

    Raises:
        MesascopeError: It is not positive, or so extreme that float32 squares would leave their range.
    """
    if w_std is not None and not 1e-9 < w_std < 1e9:
        raise MesascopeError(f"w_std={w_std} is no scale; give a positive number between 1e-9 and 1e9")
