"""What may be said: filters that look at a text and give a verdict. Import from the modules"""

__all__: list[str] = []
