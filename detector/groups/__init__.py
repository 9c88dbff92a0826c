"""Runs of single events counted together, with the result of one by one.

``batching`` is what the engine calls. ``runs`` cuts records into runs, ``light`` and
``frames`` read them, ``columns`` and ``rowtable`` lay them out, ``places`` knows where
a shape counts, ``ahead`` how far nothing comes in between, ``grouped`` counts.
"""
