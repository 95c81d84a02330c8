"""What a model is worth: each measure a small module of its own. Import from the modules."""

__all__: list[str] = []
