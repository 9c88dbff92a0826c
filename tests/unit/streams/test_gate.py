"""`hypercare gate` without a Kafka: what it refuses, and that it never guesses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from acting.answers import Answer
from streams.cli import gate as module
from streams.cli.main import main
from streams.signing import new_key

NOBODY = "127.0.0.1:1"


@pytest.fixture
def known(tmp_path: Path) -> dict[str, str]:
    """An environment with a key, and a Kafka that nobody runs."""
    public = tmp_path / "key.pub"
    public.write_bytes(new_key()[1])
    return {
        "HYPERCARE_PUBLIC_KEYS": str(public),
        "HYPERCARE_KAFKA": NOBODY,
        "HYPERCARE_STOP_FILE": str(tmp_path / "STOP"),
    }


def asked(known: dict[str, str], *words: str) -> Result:
    """Ask about a release."""
    return CliRunner().invoke(main, ["gate", "shop", "2", *words], env=known)


HALT = ("--on-unavailable", "halt")


def test_nobody_answers(known: dict[str, str]) -> None:
    """Without Kafka a job hears 30 or goes on, as it said before."""
    assert asked(known, *HALT).exit_code == Answer.UNREACHABLE
    going = asked(known, "--on-unavailable", "continue")
    assert (going.exit_code, "unreachable" in going.output) == (0, True)


def test_what_to_do_must_be_said(known: dict[str, str]) -> None:
    """Whether a job goes on without an answer has no default."""
    assert asked(known).exit_code == 2


def test_trust_must_be_given(known: dict[str, str]) -> None:
    """Without a public key nothing can be believed: a wrong setting, not an answer."""
    del known["HYPERCARE_PUBLIC_KEYS"]
    refused = asked(known | {"HYPERCARE_PUBLIC_KEYS": ""}, *HALT)
    assert (refused.exit_code, "HYPERCARE_PUBLIC_KEYS" in refused.output) == (2, True)


def test_kill_switches_need_no_kafka(known: dict[str, str]) -> None:
    """The variable and the file stop a gate that reaches nobody; a wrong value of the
    variable is refused."""
    assert asked(known | {"HYPERCARE_STOP": "1"}, *HALT).exit_code == Answer.FROZEN
    assert asked(known | {"HYPERCARE_STOP": "yes"}, *HALT).exit_code == 2
    Path(known["HYPERCARE_STOP_FILE"]).write_text("")
    assert asked(known, *HALT).exit_code == Answer.FROZEN


def test_own_defect_is_no_answer(
    known: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the gate itself fails, a job hears that nobody answers, never 1."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "Topics", broken)
    assert asked(known, *HALT).exit_code == Answer.UNREACHABLE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("approve", "rec_x"), "--action"),
        (("approve", "shop", "--action", "rollback"), "rec_"),
        (("mode", "fast"), "mode needs one of"),
        (("stop", "shop"), "--service"),
        (("withdraw", "cart", "--service", "shop"), "--environment"),
        (("freeze", "--environment", "staging"), "every environment"),
    ],
)
def test_unclear_order_is_refused(
    known: dict[str, str], words: tuple[str, ...], said: str
) -> None:
    """An order that could mean something else is refused before Kafka is asked."""
    refused = CliRunner().invoke(main, ["order", *words, "--why", "x"], env=known)
    assert (refused.exit_code, said in refused.output) == (2, True)
