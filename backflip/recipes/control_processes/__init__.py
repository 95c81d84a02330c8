"""Deep RL from human preferences in processes that never wait for one another: agent, predictor, people (H, 2.2).

    python -m backflip.recipes.control_processes --folder runs/hopper --labellers people

The store is where they meet. The agent acts and learns from the newest predictor; the predictor's process asks, hears
and fits; people answer in the studio, or a simulated teacher answers here. Each may be killed at any time.
"""

from backflip.recipes.control_processes.config import Config, read_config
from backflip.recipes.control_processes.supervisor import run

__all__ = ["Config", "read_config", "run"]
