"""The language kit: tokens, backbone, heads, scoring, sampler, judge."""

__all__: list[str] = []
