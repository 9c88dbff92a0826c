"""Settings: what is read, what is refused, and what never shows."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.settings import VARIABLES, Settings, SettingsError, StateReset

KEY = "0123456789abcdef"


def test_empty_environment_has_defaults() -> None:
    """Without any variable the documented defaults hold."""
    settings = Settings.from_environment({})
    assert (settings.kafka, settings.group) == ("127.0.0.1:9092", "hypercare")
    assert settings.topic("events") == "hypercare.events"


def test_values_are_typed() -> None:
    """Each variable arrives in its field with its type."""
    settings = Settings.from_environment(
        {
            "HYPERCARE_KAFKA": "a:1, b:2",
            "HYPERCARE_PARTITIONS": "12",
            "HYPERCARE_SNAPSHOT_INTERVAL": "0.5",
            "HYPERCARE_STATE_RESET": "1",
            "HYPERCARE_DEMO": "1",
            "HYPERCARE_IDENTITY_KEY": KEY,
        }
    )
    assert (settings.kafka, settings.partitions) == ("a:1,b:2", 12)
    assert settings.snapshot_interval_s == 0.5
    assert settings.state_reset is StateReset.REBUILD
    assert (settings.demo, settings.identity_key) == (True, KEY.encode())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("KAFKA", "localhost", "host:port"),
        ("KAFKA", "localhost:0", "host:port"),
        ("PARTITIONS", "0", "from 1 to 1024"),
        ("PARTITIONS", "4.0", "whole number"),
        ("SNAPSHOT_INTERVAL", "nan", "number of seconds"),
        ("SNAPSHOT_INTERVAL", "-1", "number of seconds"),
        ("TICK_INTERVAL", "soon", "number of seconds"),
        ("PREFIX", "a b", "letters, digits"),
        ("STATE_RESET", "maybe", "no, rebuild, skip"),
        ("DEMO", "yes", "0 or 1"),
        ("IDENTITY_KEY", "short", "openssl rand -hex 32"),
        ("IDENTITY_KEY_FILE", "/nowhere/key", "can not be read"),
    ],
)
def test_wrong_values_are_named(name: str, value: str, words: str) -> None:
    """A wrong value is refused with the variable's name and what would be right."""
    with pytest.raises(SettingsError, match=f"HYPERCARE_{name}") as error:
        Settings.from_environment({f"HYPERCARE_{name}": value})
    assert words in str(error.value)


def test_all_problems_come_at_once() -> None:
    """Every wrong variable is reported, not only the first."""
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({"HYPERCARE_KAFKA": "x", "HYPERCARE_DEMO": "x"})
    assert len(error.value.problems) == 2


def test_typing_errors_are_noticed() -> None:
    """A name that is nearly one of ours is not silently ignored."""
    with pytest.raises(SettingsError, match="did you mean HYPERCARE_PARTITIONS"):
        Settings.from_environment({"HYPERCARE_PARTITION": "3"})


def test_variables_of_others_are_left() -> None:
    """Variables that other parts of the project read are no concern of ours."""
    Settings.from_environment({"HYPERCARE_KAFKA_PORT": "1", "HYPERCARE_JAVA": "x"})


def test_key_may_stand_in_a_file(tmp_path: Path) -> None:
    """The identity key is read from a file, without its line end."""
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    settings = Settings.from_environment({"HYPERCARE_IDENTITY_KEY_FILE": str(path)})
    assert settings.require_identity_key() == KEY.encode()


def test_two_keys_are_refused(tmp_path: Path) -> None:
    """A key and a file with a key contradict each other."""
    with pytest.raises(SettingsError, match="both set"):
        Settings.from_environment(
            {"HYPERCARE_IDENTITY_KEY": KEY, "HYPERCARE_IDENTITY_KEY_FILE": "x"}
        )


def test_missing_key_is_refused() -> None:
    """Outside a demonstration nothing starts without an identity key."""
    with pytest.raises(SettingsError, match="openssl rand"):
        Settings().require_identity_key()


def test_demo_makes_a_random_key() -> None:
    """A demonstration goes without a key and never uses a known one."""
    demo = Settings(demo=True)
    assert len(demo.require_identity_key()) == 32
    assert demo.require_identity_key() != demo.require_identity_key()


def test_key_never_shows() -> None:
    """The key is in neither the representation nor a message."""
    assert KEY not in repr(Settings(identity_key=KEY.encode()))
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({"HYPERCARE_IDENTITY_KEY": "s3cr3t"})
    assert "s3cr3t" not in str(error.value)


@given(st.sampled_from(sorted(VARIABLES)), st.text(max_size=30))
def test_any_text_is_taken_or_refused(name: str, text: str) -> None:
    """No value of any variable ends in anything but settings or their error."""
    variable = f"HYPERCARE_{VARIABLES[name].name}"
    refused = ""
    try:
        Settings.from_environment({variable: text})
    except SettingsError as error:
        refused = str(error)
    assert refused == "" or variable in refused


def test_every_field_can_be_set() -> None:
    """Each field has its variable."""
    names = {field.name for field in fields(Settings)}
    assert names == set(VARIABLES) | {"identity_key", "connection", "shadow"}


def test_documentation_names_every_variable() -> None:
    """docs/streaming.md lists each variable."""
    text = (Path(__file__).parents[3] / "docs" / "streaming.md").read_text()
    for variable in VARIABLES.values():
        assert f"HYPERCARE_{variable.name}`" in text, variable.name
