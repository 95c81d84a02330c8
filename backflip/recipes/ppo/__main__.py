"""`python -m backflip.recipes.ppo`."""

from backflip.recipes.ppo.recipe import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
