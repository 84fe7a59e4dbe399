"""Induction heads: which heads copy, which query, and whether they are a circuit."""

from mesascope.analyses.induction.induction import Induction, find_induction, holds_heads

__all__ = ["Induction", "find_induction", "holds_heads"]
