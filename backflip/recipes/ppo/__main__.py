"""`python -m backflip.recipes.ppo`."""

from backflip.recipes.ppo.recipe import main

if __name__ == "__main__":
    main()
