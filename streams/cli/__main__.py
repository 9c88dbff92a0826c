"""``python -m streams.cli`` is ``hypercare``."""

from streams.cli.main import main

main(prog_name="hypercare")
