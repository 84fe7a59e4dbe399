"""The program: a greeting, and errors in a line."""

import os
import sys
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from mesascope import __version__
from mesascope.cli.completion import whole_words
from mesascope.cli.console import out, warn


class Program(TyperGroup):
    """Greets where others print their help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without arguments, say what to try; not to a shell, which asks for completions without any."""
        if not args and not ctx.resilient_parsing:
            greet()
            ctx.exit()
        return super().parse_args(ctx, args)


app = typer.Typer(name="mesascope", cls=Program, rich_markup_mode="rich", pretty_exceptions_enable=False)

FIRST_STEPS = {
    "mesascope zoo": "what is bundled to look at",
    "mesascope identify zoo:lsa-2": "which algorithm it is, layer by layer",
    "mesascope report zoo:lsa-2 --out out/report": "everything, as one page",
    "mesascope --help": "all commands",
}


def _print_version(asked: bool) -> bool:
    if asked:
        print(__version__)
        raise typer.Exit
    return asked


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A microscope for mesa-optimizers: which learning algorithm does a transformer's forward pass run?"""


def greet() -> None:
    """Say what the program does and what to try first."""
    steps = Table.grid(padding=(0, 3))
    steps.add_column(no_wrap=True)
    for command, what in FIRST_STEPS.items():
        steps.add_row(f"  [bold]{command}[/]", what)
    out().print(f"mesascope {__version__} finds out which learning algorithm a transformer's forward pass runs.\n")
    out().print(steps)


def main() -> None:
    """Run the command line; a user's mistake is one line, not a traceback."""
    os.environ |= whole_words(os.environ)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # the name of a file need not be UTF-8
    try:
        app()
    except ValueError as error:
        from mesascope.models.errors import MesascopeError

        if not isinstance(error, MesascopeError):
            raise
        warn([str(error)], "[bold red]error:[/]")
        sys.exit(1)
