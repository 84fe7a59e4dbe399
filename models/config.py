"""Every configuration is a frozen pydantic model: validated, comparable, and the same in YAML and JSON."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of all configurations; an unknown field is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")
