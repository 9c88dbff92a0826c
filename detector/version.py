"""Version of the code that decides; part of every verdict."""

CODE_VERSION = "0.1.0"
