"""The code in a page, run as a reader would run it: block after block, in one namespace."""

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mesascope.models import MesascopeError

FENCED = re.compile(r"^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """A block of Python and what the page says that it prints, or is refused with."""

    code: str
    said: str


def snippets(page: str) -> Iterator[Snippet]:
    """Every block of Python; a block of text behind it, with nothing between, is its output."""
    blocks = list(FENCED.finditer(page))
    for block, after in zip(blocks, [*blocks, None][1:], strict=True):
        if block["language"] == "python":
            is_output = (
                after is not None and after["language"] == "text" and not page[block.end() : after.start()].strip()
            )
            yield Snippet(block["body"], after["body"] if after is not None and is_output else "")


def outputs(page: str) -> Iterator[tuple[Snippet, str]]:
    """Each block with what it printed; a refusal is its line, and stops nothing."""
    names: dict[str, object] = {"__name__": "page"}
    for snippet in snippets(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                exec(compile(snippet.code, "the page", "exec"), names)  # noqa: S102
            except MesascopeError as refused:
                print(f"MesascopeError: {refused}")
        yield snippet, printed.getvalue()
