"""The functional core of Hypercare: records in, evidence and verdicts out.

Time comes from the data. Nothing in this package reads a clock, opens a file,
talks to a network or writes a log line; ``streams`` is the shell that does.
"""
