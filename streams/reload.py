"""Rules from a file into the log: hot reload, all or nothing.

The file is read when it changed and has come to rest; only a whole valid set is
sent, as one command per partition, so every verdict says under which rules it was
made and a replay knows when they changed. What does not load leaves the old set in
force and ``rules_last_reload_successful`` at 0.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from detector.events import EVERY_SERVICE, Command
from detector.rulefile import RuleFileError, RuleSet, check_reload, load_rules
from streams.filewatch import FileWatch

logger = logging.getLogger(__name__)


class RuleWatch:
    """Watches one rule file and holds the newest set that is whole and valid.

    Parameters
    ----------
    path : Path or None
        The file; None: the shipped rules, which do not change.
    rules : RuleSet
        What is in force at the start.
    allow_shrink : bool
        Accept a set in which more than half of the rules are gone.
    """

    def __init__(
        self, path: Path | None, rules: RuleSet, *, allow_shrink: bool = False
    ) -> None:
        self.path = path
        self.rules = rules
        self.successful = True
        self.problem = ""
        self._allow_shrink = allow_shrink
        self._watch = FileWatch(*([] if path is None else [path]))

    def poll(self) -> RuleSet | None:
        """The new set, if the file changed, has come to rest and is valid.

        Call it about once a second.
        """
        if self.path is None or not self._watch.changed():
            return None
        try:
            text = self.path.read_text(encoding="utf-8")
            rules = load_rules(text, source=str(self.path))
            check_reload(
                self.rules,
                rules,
                allow_shrink=self._allow_shrink,
                source=str(self.path),
            )
        except (OSError, UnicodeDecodeError, RuleFileError) as error:
            self.successful, self.problem = False, str(error)
            logger.error("rules.reload_refused file=%s\n%s", self.path, error)
            return None
        self.successful, self.problem = True, ""
        if rules.hash == self.rules.hash:
            return None
        self.rules = rules
        logger.info("rules.reloaded file=%s hash=%s", self.path, rules.hash[:12])
        return rules


def ruleset_command(rules: RuleSet, now_ms: int) -> bytes:
    """The log record that puts a rule set in force in its partition."""
    return msgspec.json.encode(
        Command(
            ts=now_ms,
            service=EVERY_SERVICE,
            id=f"ruleset-{rules.hash}-{now_ms}",
            name="ruleset",
            rules_hash=rules.hash,
            rules_text=rules.to_canonical_json().decode(),
        )
    )
