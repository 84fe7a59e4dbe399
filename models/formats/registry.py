"""From a name or a folder to a model: run folders of every known format, and the bundled zoo."""

import re
from importlib.resources import as_file, files
from pathlib import Path

from mesascope.models.errors import MesascopeError, nearest
from mesascope.models.formats.checkpoint import Checkpoint, Format
from mesascope.models.formats.garg import GargFormat
from mesascope.models.formats.native import NativeFormat

FORMATS: tuple[Format, ...] = (NativeFormat(), GargFormat())
"""All formats; a new one is one file and its entry here."""

_UNTRAINED = re.compile(r"(?P<name>.*)@untrained(-(?P<seed>\d+))?")


def zoo_names() -> list[str]:
    """The bundled specimens."""
    root = files("mesascope.models") / "zoo"
    return sorted(entry.name for entry in root.iterdir() if (entry / "config.json").is_file())


def load(source: str | Path, w_std: float | None = None) -> Checkpoint:
    """Load a checkpoint.

    Args:
        source: A run folder (mesascope's own, or Garg et al.'s), `zoo:NAME`, or either followed by `@untrained` or
            `@untrained-SEED` for the same architecture with fresh weights.
        w_std: Scale of w where the folder does not record it, or to overrule it; None means the folder's, or 1.

    Raises:
        MesascopeError: There is no such checkpoint, it cannot be read, or w_std is not positive.
    """
    check_scale(w_std)
    twin = _UNTRAINED.fullmatch(str(source))
    if twin is None:
        return _load_trained(str(source), w_std)
    trained = _load_trained(twin["name"], w_std)
    seed = int(twin["seed"] or 0)
    model = trained.model.untrained_twin(seed).eval()
    return Checkpoint(
        model,
        trained.task,
        str(source),
        trained.format,
        seed,
        trained.w_std_known,
        f"Untrained twin of {twin['name']}.",
    )


def _load_trained(source: str, w_std: float | None) -> Checkpoint:
    if source.startswith("zoo:"):
        name = source.removeprefix("zoo:")
        if name not in zoo_names():
            raise MesascopeError(f"the zoo has no {name!r}{nearest(name, zoo_names())}")
        with as_file(files("mesascope.models") / "zoo" / name) as folder:
            loaded = NativeFormat().load(folder, w_std)
        return Checkpoint(**{**vars(loaded), "source": source})
    folder = Path(source)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise MesascopeError(
            f"{source} {what}; expected a run folder or zoo:NAME{nearest(source, [f'zoo:{n}' for n in zoo_names()])}"
        )
    for format in FORMATS:
        if (folder / format.marker).exists():
            return format.load(folder, w_std)
    markers = " or ".join(f"{format.marker} ({format.name})" for format in FORMATS)
    raise MesascopeError(f"{source} is no run folder: expected a {markers} in it")


def check_scale(w_std: float | None) -> None:
    """Refuse a scale of w that is none.

    Raises:
        MesascopeError: It is not positive, or so extreme that float32 squares would leave their range.
    """
    if w_std is not None and not 1e-9 < w_std < 1e9:
        raise MesascopeError(f"w_std={w_std} is no scale; give a positive number between 1e-9 and 1e9")
