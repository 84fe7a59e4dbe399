import importlib
import subprocess
import sys

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


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'mesascope' has no attribute 'identity'"):
        _ = mesascope.identity


def test_neither_the_package_nor_its_command_line_imports_what_is_heavy():
    program = "import mesascope.cli, sys; print(*{'torch', 'plotly', 'transformer_lens', 'scipy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
