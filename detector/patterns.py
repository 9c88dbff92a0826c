"""What personal data and secrets look like in text: the expressions, bounded.

All repetitions are bounded or over disjoint character sets, so a hostile text
costs time linear in its length.
"""

from __future__ import annotations

import re

_LOCAL = r"[\w.!#$&'*+=?^`{|}~%-]{1,64}"
_LABELS = r"(?:[\w-]{1,63}\.){1,8}"
# The last label is letters only. Safari and Firefox write "fn@app.bundle.js:10"
# in stacks: these suffixes are no top-level domains.
_SOURCE = r"(?:js|mjs|cjs|jsx|tsx|jsbundle|bundle|vue)\b"
_NOT_SOURCE = rf"(?!\.(?:[\w-]{{1,63}}\.){{0,8}}{_SOURCE})"
_TLD = rf"(?!{_SOURCE})[^\W\d_]{{2,24}}(?![^\W\d_]){_NOT_SOURCE}"
_ADDRESS = re.compile(rf"{_LOCAL}(?:@|%40){_LABELS}{_TLD}", re.IGNORECASE)
# In a release name like pkg@1.2.3-rc.beta the part after @ is a version: two
# numbers in a row. Domains such as 163.com start with one at most.
_NAME_ADDRESS = re.compile(
    rf"[\w.+-]{{1,64}}@(?!v?\d{{1,9}}\.\d){_LABELS}{_TLD}(?![\w-])", re.IGNORECASE
)

_USERINFO = re.compile(r"(?<=://)[^/\s?#]{1,512}@")
_JWT = re.compile(r"\beyJ[\w-]{5,}(?:\.[\w-]{3,}){1,2}\.?")
_SCHEME = re.compile(r"\b(Bearer|Basic)(?:\s|%20){1,3}[\w.~+/=-]{6,}", re.IGNORECASE)
_SECRET = re.compile(
    r"(?P<name>(?:pass(?:word|wd|phrase)?|secret|token|api[_-]?key|auth|session"
    r"[_-]?id|cookie)[\"']?\s{0,3}[=:]\s{0,3})(?!\[secret\])[\"']?[^\s\"',;&}]{3,}",
    re.IGNORECASE,
)
_VENDOR_KEY = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|xox[abprs]-[\w-]{10,}|sk[-_](?:live_|test_)?\w{20,}"
    r"|AKIA[0-9A-Z]{16}|whsec_[\w+/=]{20,})"
)
_DIGITS = re.compile(r"(?<![0-9A-Za-z])\d{7,}(?![0-9A-Za-z])")
_GROUPS = re.compile(
    r"(?<![0-9A-Za-z])\+?\(?\d{1,4}\)?(?:[ ./-]\(?\d{2,12}\)?){1,6}(?![0-9A-Za-z])"
)
_DATE = re.compile(r"(?:19|20)\d\d[-/.](?:0\d|1[0-2])[-/.][0-3]\d")
_QUERY = re.compile(r"[?#].*\Z", re.DOTALL)


def holds_address(text: str) -> bool:
    """Whether a text contains an e-mail address."""
    return ("@" in text or "%40" in text) and _ADDRESS.search(text) is not None


def name_holds_address(name: str) -> bool:
    """Whether a name contains a real address; ``pkg@1.2.3`` is a release.

    Examples
    --------
    >>> [name_holds_address(n) for n in ("pkg@1.2.3-rc.one", "bob@example.com")]
    [False, True]
    """
    return "@" in name and _NAME_ADDRESS.search(name) is not None


def mask_addresses(text: str) -> str:
    """The text with every e-mail address replaced by ``[email]``."""
    if "@" not in text and "%40" not in text:
        return text
    text = _USERINFO.sub("", text)
    return _ADDRESS.sub("[email]", text)


def mask_secrets(text: str) -> str:
    """The text with tokens, keys and ``password=...`` values masked."""
    text = _JWT.sub("[token]", text)
    text = _SCHEME.sub(r"\1 [token]", text)
    text = _VENDOR_KEY.sub("[token]", text)
    return _SECRET.sub(r"\g<name>[secret]", text)


def _grouped(match: re.Match[str]) -> str:
    """Mask grouped digits that are long enough for a phone or a card number."""
    text = match.group()
    digits = sum(c.isdigit() for c in text)
    return text if digits < 9 or _DATE.match(text) else "[number]"


def mask_numbers(text: str) -> str:
    """The text with runs of 7 digits, and groups of 9, replaced by ``[number]``."""
    return _DIGITS.sub("[number]", _GROUPS.sub(_grouped, text))


def _is_card(digits: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1), on lengths and first digits of cards."""
    if not 13 <= len(digits) <= 19 or digits[0] in "01" or digits[:2] == "20":
        return False
    doubled = [int(d) * (1 + (i % 2)) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _card(match: re.Match[str]) -> str:
    """Mask a run of digits that is a card number; build numbers stay."""
    return "[number]" if _is_card(match.group()) else match.group()


def mask_cards(text: str) -> str:
    """The text with card numbers and ``+49...`` phone numbers masked.

    For labels and versions, where a build number or a time stamp of 14 digits
    must stay distinct from the next one.
    """
    text = re.sub(r"\+\d[\d ()./-]{6,20}\d", "[number]", text)
    return _DIGITS.sub(_card, text)


def drop_query(url: str) -> str:
    """The address without its query and fragment: both carry personal data."""
    return _QUERY.sub("", url)
