"""Ingress: any topic, any format, into the one log.

Ordinary Faust agents read the ingress topics in batches, decode them with the
codec of the topic, scrub and hash identities, pack the events of one service into
arrays and write those to the log. An offset is acknowledged after everything that
came out of it is acknowledged.

Add a format in three steps: a decoder ``bytes -> list[Event | Rejected]`` in
``detector/formats``, one line in ``codecs.DECODERS``, one line in ``codecs.CODECS``
for the topic that carries it.
"""
