"""Unit tests of rules: written series in, what is said and when compared with it.

``notation`` reads series and times, ``model`` the file, ``making`` turns a test into
lines of the log, ``running`` sends them through the core that runs live and compares.
Pure: files are read by ``streams``.
"""

from detector.ruletest.loading import Loaded, load_tests
from detector.ruletest.model import schema_of_tests
from detector.ruletest.running import Failure, Result, run_test

__all__ = ["Failure", "Loaded", "Result", "load_tests", "run_test", "schema_of_tests"]
