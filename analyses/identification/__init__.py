"""Which learning algorithm is it? Rivals, how alike they are, the evidence, the verdict, and tests of all that."""

from mesascope.analyses.identification.design import Design, design_prompts
from mesascope.analyses.identification.discrimination import Discrimination
from mesascope.analyses.identification.identification import Identification, identify

__all__ = ["Design", "Discrimination", "Identification", "design_prompts", "identify"]
