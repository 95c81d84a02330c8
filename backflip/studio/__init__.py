"""The web site: people rank, compare and write, and watch the training. No torch.

Import from the modules: `from backflip.studio.app import create_app`.
"""

__all__: list[str] = []
