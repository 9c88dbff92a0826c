"""Signals: what is compared between a candidate and its control.

A signal is one file that turns a closed window into comparisons, plus one line
in ``table.SIGNALS``.
"""
