"""Recorded history against rule sets: shared out among processes, and its report."""
