"""Chat on the network: the service, its OpenAI-compatible API. Imported only where chat is turned on: it needs torch"""

__all__: list[str] = []
