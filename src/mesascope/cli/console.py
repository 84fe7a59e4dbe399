"""What commands say: results on stdout, progress and warnings on stderr."""

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape as escaped
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from mesascope.analyses import Scope
    from mesascope.analyses.claim import Claim, Result

__all__ = [
    "attached",
    "check_folder",
    "claims_table",
    "command_line",
    "draw",
    "escaped",
    "interval",
    "out",
    "print_json",
    "progress",
    "tell",
    "warn",
]


def out() -> Console:
    """Stdout, for results."""
    return Console(highlight=False, emoji=False)


def warn(warnings: Iterable[str], as_: str = "[bold yellow]warning:[/]") -> None:
    """A line on stderr for each."""
    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"{as_} {escaped(warning)}")


def print_json(content: object) -> None:
    """For machines."""
    print(json.dumps(content, indent=1))


def attached(ckpt: str, seed: int, device: str, w_std: float | None) -> "Scope":
    """The scope of a command's checkpoint."""
    from mesascope.analyses import attach

    return attach(ckpt, seed=seed, device=device, w_std=w_std)


def command_line() -> str:
    """What was typed, so that a reader can repeat it."""
    return shlex.join(["mesascope", *sys.argv[1:]])


def claims_table(claims: Iterable["Claim"], title: str) -> Table:
    """Claims with their evidence."""
    table = Table("claim", "95% interval", "null", "verdict", title=title, show_lines=True)
    for claim in claims:
        ci = "–" if claim.ci is None else interval(*claim.ci, ".4g")
        null = "–" if claim.null is None else f"{claim.null:.4g}"
        table.add_row(escaped(claim.text), ci, null, escaped(claim.verdict))
    return table


def interval(low: float, high: float, digits: str) -> str:
    """An interval in brackets, which `[inf, inf]` would not survive: it reads like a tag."""
    return escaped(f"[{low:{digits}}, {high:{digits}}]")


def check_folder(figures: Path | None) -> None:
    """Refuse a folder that cannot be written, before minutes are spent."""
    from mesascope.analyses.folders import check_writable

    if figures is not None:
        check_writable(figures)


def draw(result: "Result", figures: Path | None) -> list[Path]:
    """Write a result's figures, if they are asked for, and say where."""
    from mesascope.analyses.report.figures import write_figures

    return [] if figures is None else write_figures(result, figures)


def tell(
    result: "Result",
    show: Callable[[], None],
    as_json: bool,
    figures: Path | None = None,
    write: Callable[[], Iterable[Path]] = lambda: (),
) -> None:
    """Print a result, and only then write its report and figures: a full disk does not cost what took minutes."""
    if as_json:
        print_json(result.to_json())
    else:
        show()
        warn(result.warnings)
    for files in (write, lambda: draw(result, figures)):
        for path in files():
            if not as_json:
                print(path)


@contextmanager
def progress(total: int, what: str) -> Iterator[Any]:
    """A bar on stderr, quiet when that is no terminal; yields a function that names the next stage."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),  # a checkpoint may be called anything
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, emoji=False), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        started = False

        def advance(name: str) -> None:
            nonlocal started
            bar.update(task, description=name, advance=1 if started else 0)
            started = True

        yield advance
        bar.update(task, completed=total)
