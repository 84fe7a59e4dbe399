"""Tasks: seeded sources of prompts. A new task is one new file and one line here."""

from mesascope.models.tasks.linear_regression import LinearRegression

Task = LinearRegression
"""Any task; a discriminated union on `name` once there are several."""

__all__ = ["LinearRegression", "Task"]
