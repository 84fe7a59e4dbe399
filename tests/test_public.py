import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mesascope


@pytest.mark.parametrize("name", mesascope.__all__)
def test_every_public_name_resolves_to_the_object_of_its_home(name):
    found = getattr(mesascope, name)
    if name != "__version__":
        assert found is getattr(importlib.import_module(mesascope._HOME[name]), name)
    assert name in dir(mesascope)


@pytest.mark.parametrize("module", ["models", "probes", "analyses"])
def test_every_room_hands_on_all_it_lists(module):
    room = importlib.import_module(f"mesascope.{module}")
    assert sorted(room.__all__) == sorted(set(room.__all__))
    assert all(hasattr(room, name) for name in room.__all__)


def test_what_type_checkers_read_is_what_is_handed_on():
    tree = ast.parse(Path(mesascope.__file__).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.asname: (node.module, alias.name) for node in imports for alias in node.names}
    rooms = {room: ("mesascope", room) for room in ("analyses", "models", "probes")}
    assert typed == {name: (home, name) for name, home in mesascope._HOME.items()} | rooms


def in_a_fresh_python(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("room", ["analyses", "models", "probes"])
def test_every_room_is_there_before_anything_was_used(room):
    assert room in dir(mesascope)
    program = f"import mesascope as ms, sys; print(ms.{room} is sys.modules['mesascope.{room}'])"
    assert in_a_fresh_python(program) == "True"


@pytest.mark.parametrize(
    "name, hint", [("identity", "; did you mean 'identify'?"), ("modls", "; did you mean 'models'?"), ("zzz", "")]
)
def test_an_unknown_name_is_an_attribute_error_that_names_the_nearest(name, hint):
    with pytest.raises(AttributeError) as raised:
        getattr(mesascope, name)
    assert str(raised.value) == f"module 'mesascope' has no attribute {name!r}{hint}"


def test_neither_the_package_nor_its_command_line_imports_what_is_heavy():
    program = "import mesascope.cli, sys; print(*{'torch', 'plotly', 'transformer_lens', 'scipy'} & set(sys.modules))"
    assert in_a_fresh_python(program) == ""
