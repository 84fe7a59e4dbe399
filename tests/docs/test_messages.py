import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from .snippets import snippets

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
extension = import_module("messages")
CAUSES, Message = extension.CAUSES, extension.Message
cause_of, messages = extension.cause_of, extension.messages

PAGES = sorted({cause.page for cause in CAUSES})


def test_every_message_has_a_page():
    assert not [message for message in messages() if cause_of(message) is None]


def test_every_page_has_messages_and_stands_in_the_list():
    listed = (DOCS / "errors/index.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert any(cause_of(message) == page for message in messages()), page
        assert f"({page}.md)" in listed and f"\n{page}\n" in listed
    assert {path.stem for path in DOCS.glob("errors/*.md")} == {*PAGES, "index"}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_a_refusal_of_its_own_cause(page):
    text = (DOCS / f"errors/{page}.md").read_text(encoding="utf-8")
    shown = [snippet.said for snippet in snippets(text) if snippet.said.startswith("MesascopeError: ")]
    own = [message.text for message in messages() if cause_of(message) == page]
    assert any(_fits(said, template) for said in shown for template in own)


def _fits(said: str, template: str) -> bool:
    """Whether a message may come from a template: its fixed words stand in it, in order."""
    at = 0
    for part in template.replace("; did you mean ‹the nearest›?", "‹›").split("‹"):
        words = part.partition("›")[2] or ("" if "›" in part else part)
        found = said.find(words.rstrip("\n"), at)
        if found < 0:
            return False
        at = found + len(words)
    return len(template.split("‹")[0]) + at > 20


@pytest.mark.parametrize(
    ("path", "text", "page"),
    [
        ("analyses/new.py", "n_prompts=3: expected at least 40", "too-few-prompts"),
        ("analyses/new.py", "something that no rule foresees", "analysis"),
        ("analyses/new.py", "cannot write ‹path›: no space left", "cannot-write"),
        ("analyses/new.py", "activations at ‹hook› grow beyond all numbers", "not-finite"),
        ("analyses/new.py", "figures need kaleido, which is not installed", "packages-and-devices"),
        ("analyses/new.py", "‹cluster› takes no jobs: no such partition", "packages-and-devices"),
        ("models/new.py", "something that no rule foresees", None),
    ],
)
def test_a_message_is_sorted_by_what_it_says_and_where(path, text, page):
    assert cause_of(Message(path, 1, text)) == page


def test_every_package_that_is_asked_for_stands_on_its_page():
    """Of all that pyproject.toml offers a user: the others are for the makers of mesascope."""
    text = (DOCS / "errors/packages-and-devices.md").read_text(encoding="utf-8")
    offered = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    assert offered >= {"track", "figures", "cluster"}
    assert all(f"pip install 'mesascope[{name}]'" in text for name in offered - {"docs", "dev"})
