"""A curriculum: prompts that grow in dimensions and points while training goes on."""

from pydantic import Field

from mesascope.models.config import Config


class Growth(Config):
    """A number that starts small and grows by `step` every `every` training steps, up to the task's."""

    start: int = Field(ge=1)
    step: int = Field(1, ge=1)
    every: int = Field(ge=1)

    def at(self, index: int, end: int) -> int:
        """Its value in training step `index`."""
        return min(self.start + self.step * (index // self.every), end)


class Curriculum(Config):
    """Growth of the number of coordinates of x that are not zero, and of the number of points.

    Source: Garg et al. (2022), appendix A.2.
    """

    n_dims: Growth | None = None
    n_points: Growth | None = None

    def dims(self, index: int, end: int) -> int:
        """Active coordinates in training step `index`."""
        return end if self.n_dims is None else self.n_dims.at(index, end)

    def points(self, index: int, end: int) -> int:
        """Points in training step `index`."""
        return end if self.n_points is None else self.n_points.at(index, end)
