"""All benchmarks in one table: `python benchmarks/run.py [--markdown PATH] [NAME …]`."""

import argparse
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from battery import battery_rows
from linear_attention import linear_attention_rows
from moments import moments_rows
from processes import process_rows
from readout import readout_rows
from rich.console import Console
from rich.table import Table
from rich.text import Text
from row import COLUMNS, Row
from scaling import scaling_rows
from training_step import training_step_rows

import mesascope

BENCHMARKS: dict[str, Callable[[], list[Row]]] = {
    "training-step": training_step_rows,
    "battery": battery_rows,
    "moments": moments_rows,
    "readout": readout_rows,
    "linear-attention": linear_attention_rows,
    "processes": process_rows,
    "scaling": scaling_rows,
}


def main() -> None:
    """Run the benchmarks asked for (default: all) and print one table."""
    parser = argparse.ArgumentParser(description="Our code and the other, in the same run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(BENCHMARKS)}; default all")
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the table there too")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(BENCHMARKS)):
        parser.error(f"no benchmark is called {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")

    progress = Console(stderr=True)
    rows: list[Row] = []
    for name in arguments.names or BENCHMARKS:
        progress.print(f"{name} …", style="dim")
        rows += BENCHMARKS[name]()

    title = header()
    table = Table(*COLUMNS, title=title, show_lines=True)
    for row in rows:
        table.add_row(*map(Text, row.cells()), style="red" if row.reached is False else None)
    console = Console()
    # Piped output has no width of its own; eighty columns would fold every cell.
    (console if console.is_terminal else Console(width=180)).print(table)
    if arguments.markdown:
        arguments.markdown.write_text(markdown(title, rows), encoding="utf-8")


def header() -> str:
    """What the numbers depend on."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"mesascope {mesascope.__version__} on {processor()}, {os.cpu_count()} cores{load}; "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; Python {platform.python_version()}"
    )


def processor() -> str:
    """The processor's name, or at least its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def markdown(title: str, rows: Iterable[Row]) -> str:
    """The table for the docs; `|` would end a cell."""
    lines = [f"| {' | '.join(cells)} |" for cells in [COLUMNS, ("---",) * len(COLUMNS)]]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row.cells())} |" for row in rows]
    return "\n".join([title, "", *lines, ""])


if __name__ == "__main__":
    main()
