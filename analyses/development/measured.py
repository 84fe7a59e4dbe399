"""What was measured of one checkpoint, as it is kept so that nothing is measured twice."""

from dataclasses import asdict, dataclass
from typing import Any

from mesascope.analyses.claim import Claim
from mesascope.analyses.store import Store

SCHEMA = 2
"""To be raised when what is stored changes, or the same claims come to mean something else."""


@dataclass(frozen=True)
class Measured:
    """What an analysis said of one checkpoint."""

    claims: tuple[Claim, ...]
    """The quantities that are followed."""
    applies: bool = True
    error: str = ""
    """Why it could not be measured."""

    @classmethod
    def read(cls, store: Store, name: str, key: str) -> "Measured | None":
        """What is stored of an analysis; None if nothing is, or what is there is something else: measured again."""
        content = store.read("measured", name, key)
        try:
            return None if content is None else cls._from_json(content)
        except (KeyError, TypeError):  # edited
            return None

    def write(self, store: Store, name: str, key: str) -> None:
        """Store it.

        Raises:
            MesascopeError: The file cannot be written.
        """
        store.write(asdict(self), "measured", name, key)

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> "Measured":
        claims = (Claim(**claim | {"ci": tuple(claim["ci"])}) for claim in content["claims"])
        return cls(tuple(claims), content["applies"], content["error"])
