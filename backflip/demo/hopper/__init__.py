"""`backflip control demo`: a Hopper that learns from comparisons of clips, in the time of a coffee."""

__all__: list[str] = []
