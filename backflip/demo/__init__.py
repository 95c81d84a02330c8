"""The demo: one task, its data, and the stages that run it."""

__all__: list[str] = []
