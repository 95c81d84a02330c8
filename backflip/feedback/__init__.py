"""What people say, and what becomes of it: the store, its queue, derived pairs, formats and quality. No torch.

Import from the modules: `from backflip.feedback.store import Store`.
"""

__all__: list[str] = []
