import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_ext"))
extension = import_module("api")


@pytest.mark.parametrize("name", extension.PACKAGES)
def test_every_exported_class_and_function_stands_on_the_page_of_its_room(name):
    package = import_module(name)
    rooms = extension.rooms_of(package)
    named = {word for names in rooms.values() for word in names}
    assert {word for word in package.__all__ if callable(getattr(package, word))} - named <= aliases(package)
    for room, names in rooms.items():
        page = extension.page_of(package, room, names)
        assert all(f"{name}.{word}" in page for word in names)


def aliases(package):
    """Names for types of another library, such as a tensor of a shape."""
    return {word for word in package.__all__ if getattr(package, word).__module__ in ("jaxtyping", "torch")}
