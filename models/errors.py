"""What a user can get wrong: one line that says what was got, what was expected and the remedy."""

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import shorten

from pydantic import ValidationError


class MesascopeError(ValueError):
    """An input that cannot be used; its message is fit to be shown as it is."""


def nearest(name: str, known: Iterable[str], most: int = 12) -> str:
    """`"; did you mean 'x'?"` for the known name closest to `name`, or else the known names, the first `most`."""
    known = list(known)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known[:most])}{', …' if len(known) > most else ''}" if known else ""


def in_a_line(error: BaseException) -> str:
    """What an error says, in one line that ends where a word does; CUDA's lack of memory takes a paragraph."""
    return shorten(str(error), 300, placeholder=" …").rstrip(".") or "without a word"


def first_complaint(error: ValidationError) -> str:
    """Pydantic's first complaint in one line that names the field."""
    first = error.errors()[0]
    # A union's branches are among the places, such as literal['softmax']: they are no fields.
    where = ".".join(str(part) for part in first["loc"] if "[" not in str(part)) or "the config"
    # Neither a whole config nor what a few aliases in YAML may grow to belongs into a line.
    shown = first["type"] != "missing" and not isinstance(first["input"], dict | list)
    got = f" (got {reprlib.repr(first['input'])})" if shown else ""
    return f"{where}: {first['msg']}{got}"
