"""The command line's reference, read from the program."""

from typing import Any

from docutils import nodes
from rich.text import Text
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typer.core import TyperArgument, TyperOption
from typer.main import get_command


def plain(markup: str | None) -> str:
    """Help without its markup, in one paragraph."""
    return " ".join(Text.from_markup(markup or "").plain.split())


def section(name: str, command: Any) -> nodes.section:
    """A command: how it is called, what it does, its options with their defaults, and examples."""
    arguments = [_shown(parameter) for parameter in command.params if isinstance(parameter, TyperArgument)]
    found = nodes.section(ids=[nodes.make_id(f"mesascope-{name}")])
    found += nodes.title(text=name)
    found += nodes.literal_block(text=" ".join(["mesascope", name, *arguments, "[OPTIONS]"]), language="console")
    found += nodes.paragraph(text=plain(command.help))
    options = nodes.option_list()
    for parameter in command.params:
        if isinstance(parameter, TyperOption) and not parameter.hidden:
            flags = [nodes.option("", nodes.option_string(text=flag)) for flag in _flags(parameter)]
            said = nodes.description("", nodes.paragraph(text=_said(parameter)))
            options += nodes.option_list_item("", nodes.option_group("", *flags), said)
    if len(options):
        found += options
    if command.epilog:
        found += nodes.paragraph("", "", nodes.emphasis(text=plain(command.epilog)))
    return found


def _shown(argument: TyperArgument) -> str:
    name = argument.metavar or str(argument.name).upper()
    return name if argument.required else f"[{name}]"


def _flags(option: TyperOption) -> list[str]:
    return [*option.opts, *option.secondary_opts]


def _said(option: TyperOption) -> str:
    default = option.default
    known = default is not None and not isinstance(default, bool) and not callable(default)
    return f"{plain(option.help)} [{default}]" if known else plain(option.help)


class Commands(SphinxDirective):
    """Every command of the program."""

    def run(self) -> list[nodes.Node]:
        """A section each."""
        import mesascope.cli  # noqa: F401  # registers the commands
        from mesascope.cli.app import app

        group: Any = get_command(app)
        return [section(name, command) for name, command in group.commands.items()]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
