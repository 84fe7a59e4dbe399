"""A microscope for mesa-optimizers: which learning algorithm does a transformer's forward pass run?"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Names are handed on lazily: `mesascope --help` must not wait for torch.
_HOME = {
    "Prompts": "mesascope.models",
    "LinearRegression": "mesascope.models",
    "HookedRegressor": "mesascope.models",
    "RegressorConfig": "mesascope.models",
    "train": "mesascope.models",
    "load": "mesascope.models",
    "save": "mesascope.models",
    "capture": "mesascope.probes",
    "Moments": "mesascope.probes",
    "LinearReadout": "mesascope.probes",
    "Scope": "mesascope.analyses",
    "attach": "mesascope.analyses",
    "measure_performance": "mesascope.analyses",
    "fit_readouts": "mesascope.analyses",
    "identify": "mesascope.analyses",
    "design_prompts": "mesascope.analyses",
    "measure_response": "mesascope.analyses",
    "measure_similarity": "mesascope.analyses",
    "match_weights": "mesascope.analyses",
    "detect_curvature": "mesascope.analyses",
    "check_construction": "mesascope.analyses",
    "compare_on_features": "mesascope.analyses",
    "find_induction": "mesascope.analyses",
    "trace_causes": "mesascope.analyses",
    "trace_development": "mesascope.analyses",
    "compare": "mesascope.analyses",
    "sweep_checkpoints": "mesascope.analyses",
    "write_report": "mesascope.analyses",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mesascope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
