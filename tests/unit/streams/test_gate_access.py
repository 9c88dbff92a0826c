"""Tokens of the gates: who may ask what."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.main import main
from streams.errors import Refused
from streams.gate.access import Scope, Tokens, digest_of, new_token, token_in


def test_token_of_the_command_is_known(tmp_path: Path) -> None:
    """The line that the command prints lets its token in, with its scope; the file
    holds no token."""
    made = CliRunner().invoke(main, ["gates", "token", "ci", "--scope", "act"])
    token = made.stderr.removeprefix("token: ").strip()
    path = tmp_path / "tokens"
    path.write_text(f"# ours\n\n{made.stdout}")
    assert token not in path.read_text()
    bearer = Tokens.load(path).bearer(token)
    assert bearer is not None
    assert (bearer.name, bearer.scope) == ("ci", Scope.ACT)
    assert Tokens.load(path).bearer(token + "x") is None


@pytest.mark.parametrize(
    "line",
    ["ci", "ci act", "ci act abc", f"ci all {'0' * 64}", f"c i act {'0' * 64}", "é"],
)
def test_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    """A line that is none of ours is named by file and number."""
    path = tmp_path / "tokens"
    path.write_text(f"ok read {digest_of(new_token()).hex()}\n{line}\n")
    with pytest.raises(Refused, match="tokens:2"):
        Tokens.load(path)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic " + base64.b64encode(b"any:abc").decode(), "abc"),
        ("Basic " + base64.b64encode(b"abc").decode(), None),
        ("Basic ***", None),
        ("Bearer ", None),
        ("Digest abc", None),
        ("", None),
    ],
)
def test_token_comes_two_ways(header: str, token: str | None) -> None:
    """As a bearer token, or as the password in the user info of a URL."""
    assert token_in(header) == token


def test_scopes_include_lower_ones() -> None:
    """Who may order may act, who may act may read."""
    assert Scope.READ.rank < Scope.ACT.rank < Scope.ADMIN.rank
