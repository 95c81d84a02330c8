"""Stage 5: PPO against the reward model, under a KL leash (P, section 3.5).

Read `algorithm.py` beside the paper; `trainer.py` holds the models, `recipe.py` the run around them.
"""

from backflip.recipes.ppo.config import KL, Adapter, Config, Judge, Ptx, Rates, Result, Scores, Value
from backflip.recipes.ppo.recipe import main, run
from backflip.recipes.ppo.trainer import Trainer

__all__ = [
    "KL",
    "Adapter",
    "Config",
    "Judge",
    "Ptx",
    "Rates",
    "Result",
    "Scores",
    "Trainer",
    "Value",
    "main",
    "run",
]
