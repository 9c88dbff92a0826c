"""What rules would have decided about recorded history, and how good that was.

The core is the one that runs live. Decisions are made per service, so a history can be
shared out by service among processes.
"""

from detector.backtest.courses import Course, Judged, Step, courses_of, judge
from detector.backtest.intervals import Share, share
from detector.backtest.labels import Label, read_labels
from detector.backtest.scores import Row, Summary, differences, rows_of, summary_of
from detector.backtest.sharing import by_service, shared_lines
from detector.backtest.told import Part, Told, told_of

__all__ = [
    "Course",
    "Judged",
    "Label",
    "Part",
    "Row",
    "Share",
    "Step",
    "Summary",
    "Told",
    "by_service",
    "courses_of",
    "differences",
    "judge",
    "read_labels",
    "rows_of",
    "share",
    "shared_lines",
    "summary_of",
    "told_of",
]
