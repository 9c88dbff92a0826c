"""Compare the detector with its rivals on labelled releases, in one table.

``python -m bench.quality`` runs the product (the core behind ``hypercare replay``,
with the shipped rules) and six well-known ways to judge a release over the same
cases: families of the simulator and, given its folder, a labelled exam.
"""
