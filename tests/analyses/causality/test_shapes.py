"""Every annotation executed once: interchanges cost four times as much with that as without."""

import pytest

from mesascope.analyses import attach
from mesascope.analyses import scope as scope_module
from mesascope.analyses.causality import trace_causes
from mesascope.models import HookedRegressor
from tests.models.families import FAMILIES, task_of


@pytest.mark.parametrize("name", ["linear mlp", "sine"])
def test_shapes_are_what_they_are_said_to_be(name, monkeypatch):
    """Scratch tokens, heads, MLPs and a final norm; and a task without w."""
    monkeypatch.setattr(scope_module, "N_TWINS", 2)
    cfg = FAMILIES[name]
    result = trace_causes(attach(HookedRegressor(cfg), task=task_of(cfg)), n_prompts=160, n_pairs=40)
    assert len(result.causes) == (2 if name == "sine" else 12)
    assert result.effects is not None and len(result.effects.layers) == 2
