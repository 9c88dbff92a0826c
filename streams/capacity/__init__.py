"""What does this traffic need: a model of measured slopes, and how they are measured.

``slopes.json`` holds what was measured, by which commit and command; ``model`` turns
traffic into cores, partitions, memory and bandwidth; ``measure`` does the measuring.
"""
