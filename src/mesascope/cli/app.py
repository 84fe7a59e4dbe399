"""The program: a greeting, and errors in a line."""

import sys
from typing import Annotated

import typer
from rich.table import Table

from mesascope import __version__
from mesascope.cli.console import out, warn

app = typer.Typer(
    name="mesascope",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

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
    try:
        app() if len(sys.argv) > 1 else greet()
    except ValueError as error:
        from mesascope.models.errors import MesascopeError

        if not isinstance(error, MesascopeError):
            raise
        warn([str(error)], "[bold red]error:[/]")
        sys.exit(1)
