"""What flags are for one caller: flagd's own evaluator, over a document that we serve.

Rules are those of flagd (JsonLogic, ``sem_ver``, ``starts_with``, ``ends_with``,
``fractional``), evaluated by its reference implementation, so that OFREP says what
a provider that reads the document says.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from acting.flagrules import kind_of
from acting.flags import FlagsError, encoded
from acting.ofrep import Resolved, Unresolved

TARGETING_KEY = "targetingKey"
STUMBLES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What rules over values of a wrong kind end in."""

# It reports each context that a rule can do nothing with, with a traceback: whoever
# may evaluate flags could fill the log.
logging.getLogger("openfeature.contrib").setLevel(logging.CRITICAL)


class Evaluator:
    """Evaluates the flags of a document.

    Parameters
    ----------
    document : dict
        As it is served.

    Raises
    ------
    FlagsError
        If flagd's evaluator does not take the document.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._core = FlagdCore()
        try:
            self._core.set_flags(encoded(document).decode())
        except (OpenFeatureError, re.error, *STUMBLES) as error:
            # Shared rules are put in as patterns of `re`, which refuse some letters.
            raise FlagsError(
                f"flagd's evaluator does not take the document: {error}; letters that "
                "are not ASCII, or backslashes, in `$evaluators` are one reason"
            ) from error
        self._kinds = {
            name: kind_of(flag["variants"]) for name, flag in document["flags"].items()
        }

    def resolve(self, key: str, context: Mapping[str, Any]) -> Resolved:
        """The variant of an enabled flag for a caller.

        Raises
        ------
        Unresolved
            If its targeting ends in an error, or in no variant of the flag.
        """
        about = EvaluationContext(context.get(TARGETING_KEY), dict(context))
        try:
            match self._kinds[key]:
                case "boolean":
                    found: Any = self._core.resolve_boolean_value(key, False, about)
                case "number":
                    found = self._core.resolve_float_value(key, 0.0, about)
                case "string":
                    found = self._core.resolve_string_value(key, "", about)
                case _:
                    found = self._core.resolve_object_value(key, {}, about)
        except (OpenFeatureError, RecursionError, *STUMBLES) as error:
            raise Unresolved(f"its targeting gives no variant: {error}") from error
        return Resolved(found.variant, str(getattr(found.reason, "value", "UNKNOWN")))
