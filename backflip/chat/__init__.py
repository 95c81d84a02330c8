"""Talking with a model: dialogues that fit, replies that are filtered while they stream. Import from the modules"""

__all__: list[str] = []
