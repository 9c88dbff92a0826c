"""How often harmless releases are taken back, and how soon bad ones are: by simulation.

`chunks` cuts the whole run into pieces that can be done apart and in any order, `done`
does one, `certificate` makes a page of what came out. `block_of` splits recorded
traffic of one release at random into control and pretend candidate.
"""

from detector.certify.chunks import Chunk, Outcome, chunks, done
from detector.certify.page import Made, certificate
from detector.certify.splitting import History, block_of

__all__ = [
    "Chunk",
    "History",
    "Made",
    "Outcome",
    "block_of",
    "certificate",
    "chunks",
    "done",
]
