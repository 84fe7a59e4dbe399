"""Development: how the mechanism forms in training."""

from mesascope.analyses.development.development import Development, trace_development
from mesascope.analyses.development.followed import Followed
from mesascope.analyses.development.write import write_development

__all__ = ["Development", "Followed", "trace_development", "write_development"]
