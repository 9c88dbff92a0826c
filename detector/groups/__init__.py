"""Runs of events and lines counted together, with the result of one by one.

``batching`` is what the engine calls. ``runs`` cuts records into runs, ``light`` and
``frames`` read single events, ``lines`` and ``linereading`` what stands for many,
``columns``, ``sums`` and ``rowtable`` lay them out, ``places`` knows where a shape
counts, ``lane`` where a scope stands, ``moments`` and ``ahead`` how far nothing comes
in between, ``grouped`` counts.
"""
