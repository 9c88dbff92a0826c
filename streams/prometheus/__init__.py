"""Recorded history from Prometheus: counters become lines of the log.

``mapping`` says which series mean what, ``client`` asks, ``counters`` and ``convert``
compute, ``importing`` does it in order of time. Counters and conversion know no HTTP.
"""
