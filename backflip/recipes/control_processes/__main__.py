"""`python -m backflip.recipes.control_processes`."""

import backflip.recipes.control_processes as recipe
from backflip.recipes.command import command

__all__: list[str] = []

if __name__ == "__main__":
    command(recipe.Config, recipe.run, description=recipe.__doc__, alone=True)
