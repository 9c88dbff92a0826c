"""``hypercare keys new | show``: keys that sign recommendations."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from streams.cli.common import json_option
from streams.cli.exits import explained
from streams.errors import Refused
from streams.signing import KeyFileError, Signer, Verifier, new_key

PRIVATE_MODE = 0o600


@click.group()
def keys() -> None:
    """Make keys that sign recommendations, and tell which is which."""


@keys.command()
@click.argument("name", type=click.Path(path_type=Path))
@json_option
@explained
def new(name: Path, as_json: bool) -> None:
    """Write NAME.key (for workers, secret) and NAME.pub (for everybody who checks).

    Changing keys: give NEW.pub to all who check, then OLD.key,NEW.key to all workers,
    and when the last recommendation of the old key alone is over, NEW.key alone.
    """
    secret, public = new_key()
    private_path = name.with_name(f"{name.name}.key")
    public_path = name.with_name(f"{name.name}.pub")
    _write_new(private_path, secret, PRIVATE_MODE)
    _write_new(public_path, public, 0o644)
    (found,) = Verifier.load([public_path]).key_ids
    if as_json:
        paths = {"private": str(private_path), "public": str(public_path)}
        click.echo(json.dumps({"key_id": found, **paths}))
        return
    click.echo(f"key {found}")
    click.echo(
        f"  workers:       HYPERCARE_SIGNING_KEYS={private_path} (keep it secret)"
    )
    click.echo(f"  who checks:      {public_path}")


@keys.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
@explained
def show(files: tuple[Path, ...], as_json: bool) -> None:
    """Print the ids of the keys in files, private or public."""
    found = {str(path): _ids(path) for path in files}
    if as_json:
        click.echo(json.dumps(found))
        return
    for path, (kind, ids) in found.items():
        for one in ids:
            click.echo(f"{one} {kind:<7} {path}")


def _ids(path: Path) -> tuple[str, tuple[str, ...]]:
    try:
        return "public", Verifier.load([path]).key_ids
    except KeyFileError:
        return "private", Signer.load([path]).key_ids


def _write_new(path: Path, text: bytes, mode: int) -> None:
    """Write a file that was not there; a key is never overwritten."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise Refused(f"{path} is there: choose another name") from None
    except OSError as error:
        raise Refused(f"{path}: can not be written: {error.strerror}") from error
    with os.fdopen(handle, "wb") as file:
        file.write(text)
