"""One line of the benchmark table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was measured on our side and on the other, and whether the target was reached."""

    name: str
    ours: str
    other: str
    ratio: str
    target: str
    reached: bool | None
    """None when the row was skipped."""
    notes: str = ""

    def cells(self) -> tuple[str, ...]:
        """The columns, as text."""
        reached = {True: "yes", False: "NO", None: "skipped"}[self.reached]
        return self.name, self.ours, self.other, self.ratio, self.target, reached, self.notes


COLUMNS = ("row", "ours", "other", "ratio", "target", "reached", "notes")


def skipped(name: str, target: str, why: str) -> Row:
    """A row that could not be measured here."""
    return Row(name, "–", "–", "–", target, None, why)
