"""Every configuration is a frozen pydantic model: validated, comparable, and the same in YAML and JSON."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of all configurations; an unknown field or a number that is not finite is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
