"""The JSON API: one router a module, all of them included by `backflip.studio.app`."""

__all__: list[str] = []
