"""The stages: sft, sample, reward, ppo, evaluate. Each is one recipe, independent of the others.

`python -m backflip.recipes.NAME --help` explains a stage; in Python, import its module: `Config`, `run`, `Result`.
"""

__all__: list[str] = []
