"""Yes, no, or not to be said: what intervals say of thresholds, and what follows from several of them."""

from mesascope.probes import Estimate

Answer = bool | None
"""None if it cannot be said."""


def at_least(estimate: Estimate, threshold: float) -> Answer:
    """None if the interval straddles."""
    if estimate.low >= threshold:
        return True
    return False if estimate.high < threshold else None


def at_most(estimate: Estimate, threshold: float) -> Answer:
    """None if the interval straddles."""
    if estimate.high <= threshold:
        return True
    return False if estimate.low > threshold else None


def proven(holds: bool) -> Answer:
    """What has evidence for it or none, such as being beyond a null: never a no."""
    return True if holds else None


def all_of(*answers: Answer) -> Answer:
    """No if one is no, whatever the others; yes if all are.

    Source: Kleene (1938), strong three-valued logic.
    """
    if False in answers:
        return False
    return None if None in answers else True


def any_of(*answers: Answer) -> Answer:
    """Yes if one is yes, whatever the others; no if all are no."""
    return negated(all_of(*map(negated, answers)))


def negated(answer: Answer) -> Answer:
    """What cannot be said cannot be denied either."""
    return None if answer is None else not answer
