"""The gym kit: environments without their reward, an agent, a predictor of what people prefer. Never sees lm."""

__all__: list[str] = []
