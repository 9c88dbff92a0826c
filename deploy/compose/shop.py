"""The simulated shop of the compose file: sends its events until it is stopped."""

from __future__ import annotations

import os
import sys

from streams.demo.shop import ShopTraffic
from streams.settings import Settings


def main() -> int:
    """Send events in real time; a failure is told and gives exit code 1."""
    settings = Settings.from_environment(os.environ)
    shop = ShopTraffic(settings, lambda second, text: print(f"{second:4d} s  {text}"))
    shop.run()
    if shop.problem is not None:
        print(f"the shop could not send: {shop.problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
