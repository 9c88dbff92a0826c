"""Recommendations are signed: what a worker wrote is told from everything else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from streams.cli.main import main
from streams.signing import (
    HEADER_BYTES_MAX,
    KeyFileError,
    Signer,
    Unsigned,
    Verifier,
    new_key,
)

TOPIC = "hypercare.recommendations"
CASES = 10_000


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Files of a private key and of its public one."""
    return make_pair(tmp_path, "one")


def make_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a new pair of keys."""
    secret, public = new_key()
    paths = folder / f"{name}.key", folder / f"{name}.pub"
    for path, text in zip(paths, (secret, public), strict=True):
        path.write_bytes(text)
    return paths


def flipped(text: bytes, bit: int) -> bytes:
    """The bytes with one bit turned."""
    changed = bytearray(text)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_good_records_are_accepted(
    pair: tuple[Path, Path], rng: np.random.Generator
) -> None:
    """Ten thousand signed records, all of them accepted under the key's name."""
    signer, verifier = Signer.load(pair[:1]), Verifier.load(pair[1:])
    for number in range(CASES):
        key, value = f"rec_{number}".encode(), rng.bytes(int(rng.integers(0, 300)))
        header = signer.header(TOPIC, key, value)
        assert verifier.check(TOPIC, key, value, header) == signer.key_ids[0]


def test_flipped_bits_are_refused(
    pair: tuple[Path, Path], rng: np.random.Generator
) -> None:
    """Ten thousand records with one bit turned anywhere, all of them refused."""
    signer, verifier = Signer.load(pair[:1]), Verifier.load(pair[1:])
    for number in range(CASES):
        parts = [TOPIC.encode(), f"rec_{number}".encode(), rng.bytes(200)]
        parts.append(signer.header(TOPIC, parts[1], parts[2]))
        which = number % 4
        bit = int(rng.integers(0, len(parts[which]) * 8))
        if which == 0:
            bit -= bit % 8 == 7  # else it is no text any more
        parts[which] = flipped(parts[which], bit)
        topic = parts[0].decode()
        with pytest.raises(Unsigned):
            verifier.check(topic, *parts[1:])


def test_parts_can_not_be_moved(pair: tuple[Path, Path]) -> None:
    """A byte that goes from the key into the value spoils the signature."""
    signer, verifier = Signer.load(pair[:1]), Verifier.load(pair[1:])
    header = signer.header(TOPIC, b"ab", b"c")
    with pytest.raises(Unsigned, match="does not fit"):
        verifier.check(TOPIC, b"a", b"bc", header)


def test_keys_change_without_gap(tmp_path: Path) -> None:
    """While both keys sign, who knows either accepts; afterwards the old is over."""
    old, new = (make_pair(tmp_path, name) for name in ("old", "new"))
    both, later = Signer.load([old[0], new[0]]), Signer.load([new[0]])
    for pub in (old[1], new[1]):
        header = both.header(TOPIC, b"k", b"v")
        assert Verifier.load([pub]).check(TOPIC, b"k", b"v", header)
    with pytest.raises(Unsigned, match="none of the known keys"):
        Verifier.load([old[1]]).check(
            TOPIC, b"k", b"v", later.header(TOPIC, b"k", b"v")
        )


def test_one_file_holds_many(tmp_path: Path) -> None:
    """Public keys of a file are all known."""
    pairs = [make_pair(tmp_path, str(n)) for n in range(3)]
    ring = tmp_path / "ring.pub"
    ring.write_bytes(b"".join(pub.read_bytes() for _, pub in pairs))
    assert len(Verifier.load([ring]).key_ids) == 3


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (None, "no header"),
        (b"", "no header"),
        (b"v1,abc", "not of the form"),
        (b"v2,abc,AAAA", "not of the form"),
        (b"v1,abc,A A", "base64"),
        (b"v1,abc,***", "base64"),
        (b"v1,0123456789abcdef,AAAA", "none of the known keys"),
        (b"\xff\xfe", "not of the form"),
        (b"v1," + b"a" * HEADER_BYTES_MAX, "longer"),
    ],
)
def test_bad_header_says_why(
    pair: tuple[Path, Path], header: bytes | None, words: str
) -> None:
    """What is no signature of a known key is refused with the reason."""
    with pytest.raises(Unsigned, match=words):
        Verifier.load(pair[1:]).check(TOPIC, b"k", b"v", header)


def test_wrong_files_are_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A key file that can not be used is named together with the way out."""
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    for load, path in (
        (Signer.load, pair[1]),
        (Signer.load, empty),
        (Verifier.load, pair[0]),
        (Verifier.load, empty),
        (Verifier.load, tmp_path / "nowhere"),
    ):
        with pytest.raises(KeyFileError, match=path.name):
            load([path])


def test_command_makes_usable_keys(tmp_path: Path) -> None:
    """`keys new` writes a secret only its owner reads, and never over another."""
    name = str(tmp_path / "prod")
    made = CliRunner().invoke(main, ["keys", "new", name, "--json"])
    told = json.loads(made.output)
    assert Signer.load([Path(told["private"])]).key_ids == (told["key_id"],)
    assert Path(told["private"]).stat().st_mode & 0o077 == 0
    again = CliRunner().invoke(main, ["keys", "new", name])
    assert (again.exit_code, "choose another name" in again.output) == (2, True)
    shown = CliRunner().invoke(main, ["keys", "show", f"{name}.key", f"{name}.pub"])
    assert shown.output.count(told["key_id"]) == 2
