"""Reference pages, written from what each package exports: a section for each of its rooms."""

import importlib
import inspect
import re
from collections import defaultdict
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx

PACKAGES = ("mesascope.models", "mesascope.probes", "mesascope.analyses")
API = Path(__file__).parents[1] / "api"


def rooms_of(package: ModuleType) -> dict[str, list[str]]:
    """The exported names of a package by the file or folder that they come from; an alias of a type has none."""
    rooms: dict[str, list[str]] = defaultdict(list)
    for name in package.__all__:
        home, _, path = getattr(package, name).__module__.partition(f"{package.__name__}.")
        if not home:
            rooms[path.split(".")[0]].append(name)
    return dict(sorted(rooms.items()))


def page_of(package: ModuleType, room: str, names: list[str]) -> str:
    """A page of reStructuredText with every name of a room."""
    module = importlib.import_module(f"{package.__name__}.{room}")
    blocks = [_underlined(room, "="), f"{_first_line(module)} In ``{package.__name__}``.", ""]
    for name in sorted(names, key=str.casefold):
        kind = "autoclass" if inspect.isclass(getattr(package, name)) else "autofunction"
        blocks += [_underlined(name, "-"), f".. {kind}:: {package.__name__}.{name}", ""]
    return "\n".join(blocks)


def contents_of(package: ModuleType, rooms: dict[str, list[str]]) -> str:
    """A page that lists a package's rooms with the names in each."""
    short = package.__name__.removeprefix("mesascope.")
    blocks = [_underlined(package.__name__, "="), _first_line(package), ""]
    for room, names in rooms.items():
        links = ", ".join(f":py:obj:`~{package.__name__}.{name}`" for name in sorted(names, key=str.casefold))
        blocks += [f":doc:`{room} <{short}/{room}>`", f"    {links}", ""]
    blocks += [".. toctree::", "   :hidden:", "", *(f"   {short}/{room}" for room in rooms), ""]
    return "\n".join(blocks)


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().splitlines()[0].replace("`", "``")


def _underlined(title: str, with_: str) -> str:
    return f"{title}\n{with_ * len(title)}\n"


def write_pages(app: Sphinx) -> None:
    """Write every page that is not there yet as it should be, and remove what is of no room any more."""
    for name in PACKAGES:
        package = importlib.import_module(name)
        rooms, short = rooms_of(package), name.removeprefix("mesascope.")
        pages = {f"{short}/{room}.rst": page_of(package, room, names) for room, names in rooms.items()}
        pages[f"{short}.rst"] = contents_of(package, rooms)
        (API / short).mkdir(parents=True, exist_ok=True)
        for stale in {path.relative_to(API).as_posix() for path in API.glob(f"{short}/*.rst")} - set(pages):
            (API / stale).unlink()
        for path, text in pages.items():
            if not (API / path).exists() or (API / path).read_text(encoding="utf-8") != text:
                (API / path).write_text(text, encoding="utf-8")


def as_rst(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Our docstrings say `code` as Markdown does, and use | for norms."""
    for number, line in enumerate(lines):
        parts = line.replace("``", "`").split("`")
        parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
        # A description such as "k." would be an item of a list.
        lines[number] = re.sub(r"(: \w)\.$", r"\1\\.", "``".join(parts))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx: pages before its files are listed, docstrings before napoleon."""
    app.connect("builder-inited", write_pages, priority=1)
    app.connect("autodoc-process-docstring", as_rst, priority=1)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
