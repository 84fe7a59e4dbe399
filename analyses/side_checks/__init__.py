"""What agrees in weights must agree in what it does: von Oswald et al.'s side checks."""

from mesascope.analyses.side_checks.learned_features import LearnedFeatures, compare_on_features
from mesascope.analyses.side_checks.side_checks import SideChecks, check_construction

__all__ = ["LearnedFeatures", "SideChecks", "check_construction", "compare_on_features"]
