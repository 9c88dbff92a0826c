"""The signature of an error: equal for the same fault in different releases.

What changes from one occurrence or build to the next (numbers, addresses,
hashes, names of lambdas, quoted values) is masked; what tells faults apart
(types, functions, files, words) stays.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b

from detector.events import Error

SIGNATURE_CHARS_MAX = 200
FRAMES_USED = 5
UNKNOWN = "error without detail"
_TEXT_READ = 1000

_FRAME_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        # scheme, host and query of a script: a CDN is not part of the fault
        (r"\b[a-z][a-z+.-]{1,20}://[^/\s()]{0,255}/", "/"),
        (r"[?#][^\s():]{0,512}", ""),
        (r"(?:\+\s?|\b)0x[0-9a-f]+", ""),
        (r'\bfile "([^"]{0,512})"', r"\1"),
        (r",?\s{0,3}\bline:? \d+,?", ""),
        (r"(?::\d+){1,2}(?=\W|\Z)", ""),
        (r"[+]\s?\d+\Z", ""),
        # names that compilers number: Java, Kotlin, C#, Go, Swift, JavaScript
        (r"\$\$lambda(?:\$\d+)?[/@\w$]{0,80}", "$lambda"),
        (r"lambda\$(\w+)\$\d+", r"lambda$\1"),
        (r"\$\d+\b", "$"),
        (r"<>c__DisplayClass\d+_\d+", "<>c"),
        (r"b__\d+(?:_\d+)?", "b__"),
        (r"\.func\d+(?:\.\d+)*", ".func"),
        (r"\b(closure|lambda|anonymous)[ _]?#?\d+", r"\1"),
        (r"<(lambda|anonymous|anon|module)[ _]?\d*>", r"<\1>"),
        # hashes of builds and bundles; versions of libraries in paths
        (r"(?<![0-9a-z])(?=[a-z]*\d)[0-9a-f]{8,64}(?![0-9a-z])", "*"),
        (r"@?\bv?\d+(?:\.\d+){1,3}(?:-[0-9a-z.]{1,30})?\b", "*"),
        (r"(?<![\w$])\d+(?!\w)", "*"),
        (r"\s+", " "),
    )
)

_MESSAGE_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"\b[a-z][a-z+.-]{1,20}://[^\s\"'<>]{1,2048}", "<url>"),
        (r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}", "<email>"),
        (r"\"[^\"]*\"", "<text>"),
        (r"(?<!\w)'[^']*'(?!\w)", "<text>"),
        (r"`[^`]*`", "<text>"),
        (r"“[^”]*”", "<text>"),
        (
            r"(?<![0-9a-z])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}"
            r"-[0-9a-f]{12}(?![0-9a-z])",
            "<id>",
        ),
        (r"\b0x[0-9a-f]+", "<hex>"),
        (r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])", "<ip>"),
    )
)
_TOKEN = re.compile(r"\w{6,}")
_NUMBER = re.compile(r"(?<![\w<])[+-]?\d+(?:[.,:]\d+)*(?=[a-z%]{0,2}(?!\w))|\d{3,}")
_SPACE = re.compile(r"\s+")


def signature_of(error: Error) -> str:
    """The line under which occurrences of one fault are counted together.

    The sender's ready signature; else the type and the top frames, normalised;
    else the type and the message, masked. Over 200 characters the end becomes
    a hash of the whole, so that long signatures stay distinct.

    Examples
    --------
    >>> boom = Error(ts=0, service="a", release="1", type="KeyError",
    ...              message="no order 4711 for 'alice'")
    >>> signature_of(boom)
    'KeyError: no order <n> for <text>'
    >>> boom.frames = ["pay (cart.3f9a2b1c.js:10:7)", "run (app.js:1)"]
    >>> signature_of(boom)
    'KeyError | pay (cart.*.js) | run (app.js)'
    """
    frames = tuple(error.frames[:FRAMES_USED])
    return _signature(error.signature, error.type, frames, error.message)


@lru_cache(maxsize=1024)
def _signature(
    signature: str | None, word: str | None, top: tuple[str, ...], text: str | None
) -> str:
    """The same of its parts: a fault that comes in masses comes in the same words."""
    ready = (signature or "").strip()
    if ready:
        return _fit(ready)
    kind = (word or "").strip()
    frames = [f for f in map(normalise_frame, top) if f]
    if frames:
        return _fit(" | ".join([kind, *frames] if kind else frames))
    message = mask_message(text or "")
    return _fit(": ".join(part for part in (kind, message) if part) or UNKNOWN)


def normalise_frame(frame: str) -> str:
    """A frame without line numbers, addresses, hashes and generated numbering."""
    text = frame[:_TEXT_READ]
    for pattern, replacement in _FRAME_RULES:
        text = pattern.sub(replacement, text)
    return text.strip(" ,")


def mask_message(message: str) -> str:
    """A message with its values masked, so that its wording remains."""
    text = message[:_TEXT_READ]
    for pattern, replacement in _MESSAGE_RULES:
        text = pattern.sub(replacement, text)
    text = _TOKEN.sub(_mask_token, text)
    return _SPACE.sub(" ", _NUMBER.sub("<n>", text)).strip()


def _mask_token(match: re.Match[str]) -> str:
    """Mask a word that is an id: letters with several digits, hashes too."""
    word = match.group()
    digits = sum(c.isdigit() for c in word)
    if digits == 0 or digits == len(word):
        return word
    return "<id>" if digits >= 3 or (digits == 2 and len(word) >= 8) else word


def _fit(text: str) -> str:
    """The text, or its beginning and a hash of the whole, in 200 characters."""
    if len(text) <= SIGNATURE_CHARS_MAX:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{text[: SIGNATURE_CHARS_MAX - 17]}~{digest}"
