"""``python -m city_chain.cli`` is ``city-chain``."""

import sys

from city_chain.cli import main

if __name__ == "__main__":
    sys.exit(main())
