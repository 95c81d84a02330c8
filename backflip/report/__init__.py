"""A run and what it was made from as one HTML file to show to a colleague; it stands by itself, and prints."""

__all__: list[str] = []
