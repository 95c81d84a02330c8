"""`python -m backflip`."""

import sys

from backflip.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
