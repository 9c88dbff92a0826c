"""One procedure per module: formula, paper, guarantee. Arrays in, log evidence out.

``rate_ratio`` turns counts of a cell into log evidence, ``confidence`` into
likelihoods of the ratio; ``rows`` gathers both over windows, with the prior over
onset times of ``onset``. docs/math.md says what is proven and what is measured.
"""
