"""A microscope for mesa-optimizers: which learning algorithm does a transformer's forward pass run?"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# Names are handed on lazily: `mesascope --help` must not wait for torch. Type checkers and editors read these lines.
if TYPE_CHECKING:
    # isort: off
    from mesascope import analyses as analyses
    from mesascope import models as models
    from mesascope import probes as probes
    from mesascope.analyses import (
        Scope as Scope,
        attach as attach,
        check_construction as check_construction,
        compare as compare,
        compare_on_features as compare_on_features,
        design_prompts as design_prompts,
        detect_curvature as detect_curvature,
        export_figures as export_figures,
        find_induction as find_induction,
        fit_readouts as fit_readouts,
        identify as identify,
        match_weights as match_weights,
        measure_performance as measure_performance,
        measure_response as measure_response,
        measure_similarity as measure_similarity,
        sweep_checkpoints as sweep_checkpoints,
        trace_causes as trace_causes,
        trace_development as trace_development,
        write_comparison as write_comparison,
        write_development as write_development,
        write_report as write_report,
        write_sweep as write_sweep,
    )
    from mesascope.models import (
        HookedRegressor as HookedRegressor,
        LinearRegression as LinearRegression,
        Prompts as Prompts,
        RegressorConfig as RegressorConfig,
        load as load,
        save as save,
        train as train,
    )
    from mesascope.probes import (
        LinearReadout as LinearReadout,
        Moments as Moments,
        capture as capture,
    )
    # isort: on

_ROOMS = ("analyses", "models", "probes")
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
    "write_development": "mesascope.analyses",
    "compare": "mesascope.analyses",
    "write_comparison": "mesascope.analyses",
    "sweep_checkpoints": "mesascope.analyses",
    "write_sweep": "mesascope.analyses",
    "write_report": "mesascope.analyses",
    "export_figures": "mesascope.analyses",
}

__all__ = ["__version__", *_HOME]


if not TYPE_CHECKING:  # to a type checker it would make every name Any, a wrong one too

    def __getattr__(name: str) -> object:
        if name in _HOME:
            return getattr(import_module(_HOME[name]), name)
        if name in _ROOMS:
            return import_module(f"mesascope.{name}")
        from difflib import get_close_matches

        close = get_close_matches(name, __dir__(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise AttributeError(f"module 'mesascope' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
