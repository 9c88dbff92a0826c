"""Tokens of the gates: who may ask what."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.main import main
from streams.errors import Refused
from streams.gate.access import Scope, Tokens, digest_of, new_token, token_in
from streams.signing import new_key


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
    assert (bearer.name, bearer.scope, bearer.services) == ("ci", Scope.ACT, ())
    assert Tokens.load(path).bearer(token + "x") is None


def test_patterns_of_services_are_kept(tmp_path: Path) -> None:
    """A token for some services is good for those that a pattern fits, by case and as
    a whole; the command refuses patterns that would break its line."""
    words = ["gates", "token", "ci", "--services"]
    made = CliRunner().invoke(main, [*words, "shop,pay-*"])
    path = tmp_path / "tokens"
    path.write_text(made.stdout)
    bearer = Tokens.load(path).bearer(made.stderr.removeprefix("token: ").strip())
    assert bearer is not None
    asked = ("shop", "pay-eu", "pay-", "Shop", "shop2", "pay", "*")
    assert [bearer.may(one) for one in asked] == [True] * 3 + [False] * 4
    assert CliRunner().invoke(main, [*words, "shop, pay"]).exit_code == 2
    assert CliRunner().invoke(main, [*words, "shop,"]).exit_code == 2


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"HOST": "0.0.0.0"}, "HYPERCARE_GATES_TOKENS"),
        ({"HOST": "0.0.0.0", "TOKENS": "file"}, "HYPERCARE_GATES_PLAIN"),
        ({"TLS_CERT": "file"}, "HYPERCARE_GATES_TLS_KEY"),
        ({"TLS_KEY": "file"}, "HYPERCARE_GATES_TLS_CERT"),
        ({"TLS_CLIENTS": "file"}, "HYPERCARE_GATES_TLS_CLIENTS"),
        ({"TLS_CERT": "file", "TLS_KEY": "file"}, "no certificate with its key"),
    ],
)
def test_unsafe_settings_do_not_serve(
    tmp_path: Path, environment: dict[str, str], named: str
) -> None:
    """What would be open to others, or is half set, is refused before Kafka is asked,
    with the variable to set."""
    (tmp_path / "file").write_text("")
    (tmp_path / "key.pub").write_bytes(new_key()[1])
    known = {
        f"HYPERCARE_GATES_{name}": str(tmp_path / "file") if value == "file" else value
        for name, value in environment.items()
    }
    known["HYPERCARE_PUBLIC_KEYS"] = str(tmp_path / "key.pub")
    known["HYPERCARE_KAFKA"] = "127.0.0.1:1"
    said = CliRunner().invoke(main, ["gates", "serve"], env=known)
    assert said.exit_code == 2
    assert named in said.stderr


@pytest.mark.parametrize(
    "line",
    [
        "ci",
        "ci act",
        "ci act abc",
        f"ci all {'0' * 64}",
        f"c i act {'0' * 64}",
        f"ci act {'0' * 64} shop,",
        f"ci act {'0' * 64} shop pay",
        "é",
    ],
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
