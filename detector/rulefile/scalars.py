"""Which value an unquoted YAML word is, when every YAML reader must agree on it.

YAML 1.1 and 1.2 read ``no``, ``0123``, ``12:30`` and ``1e3`` differently, and a
rule that means one thing to its author and another to the detector is worse than
an error. So only words both versions read alike are values; the rest is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

JsonScalar = str | int | float | bool | None

DIGITS_MAX = 18
_EXPONENT_SHOWN_MAX = 12
_CONSTANTS: dict[str, JsonScalar] = {"true": True, "false": False, "null": None}
_EMPTY = ""
_LOGICAL = frozenset({"true", "false", "y", "n", "yes", "no", "on", "off"})
_EMPTY_WORDS = frozenset({"null", "~"})
_SPECIAL = frozenset({"=", "<<"})
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
# With an exponent YAML 1.1 wants the point and the sign; 1.2 takes that as well.
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+][0-9]+)?")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_DISPUTED_NUMBER = re.compile(
    r"""[-+]? (?:
          [0-9][0-9_]* (?: \.[0-9_]* )? (?: [eE][-+]?[0-9]+ )?
        | \.[0-9][0-9_]* (?: [eE][-+]?[0-9]+ )?
        | 0x[0-9a-fA-F_]+ | 0o[0-7_]+ | 0b[01_]+
        | [0-9][0-9_]* (?: :[0-5]?[0-9] )+ (?: \.[0-9_]* )?
        | \.(?:inf|Inf|INF|nan|NaN|NAN)
        )
      | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2} (?: [Tt\ \t].* )?""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Disputed:
    """A word that two YAML readers may read as two different values."""

    message: str
    hint: str


def resolve(word: str) -> JsonScalar | Disputed:
    """Say what an unquoted word is: a JSON scalar, text, or disputed.

    Examples
    --------
    >>> resolve("0.0025"), resolve("true"), resolve("checkout-eu")
    (0.0025, True, 'checkout-eu')
    >>> resolve("12:30").hint
    'write a plain decimal number, or quote it if it is text: "12:30"'
    """
    if word == _EMPTY:
        return None
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    folded = word.lower()
    if folded in _LOGICAL:
        hint = f'write true or false, or quote it if it is text: "{word}"'
        return Disputed(f"{word} is a logical value in some YAML readers only", hint)
    if folded in _EMPTY_WORDS or word in _SPECIAL:
        hint = f'quote it if it is text: "{word}"'
        return Disputed(f"{word} has a special meaning in some YAML readers", hint)
    return _number_or_text(word)


def _number_or_text(word: str) -> JsonScalar | Disputed:
    is_int = _INT.fullmatch(word) is not None
    if is_int or _FLOAT.fullmatch(word):
        if sum(c.isdigit() for c in word) > DIGITS_MAX:
            hint = f"write at most {DIGITS_MAX} digits, or quote it if it is text"
            return Disputed("a number with too many digits", hint)
        return int(word) if is_int else float(word)
    if _DISPUTED_NUMBER.fullmatch(word):
        message = f"{word[:40]} is not the same number or text in every YAML reader"
        return Disputed(message, _number_hint(word))
    return word


def _number_hint(word: str) -> str:
    plain = "a plain decimal number"
    if _JSON_NUMBER.fullmatch(word) and len(word) <= DIGITS_MAX:
        value = Decimal(word)
        if abs(value.adjusted()) <= _EXPONENT_SHOWN_MAX:
            plain = f"{value:f}"
    return f'write {plain}, or quote it if it is text: "{word[:40]}"'
