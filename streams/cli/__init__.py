"""``hypercare``: one command, a file per word."""
