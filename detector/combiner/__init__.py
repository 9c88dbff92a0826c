"""Hot services: single events of one partition of many, made into aggregates.

All events of a service stand in one partition of the log. One that is hotter than a
partition bears writes its single events to ``hypercare.hot`` instead, keyed by session;
a combiner per partition counts them by window and sends aggregates into the log.
"""

from detector.combiner.core import Combiner
from detector.combiner.scopes import GRACE_MS, WIDTH_MS

__all__ = ["GRACE_MS", "WIDTH_MS", "Combiner"]
