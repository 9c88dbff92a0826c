"""What carries recommendations out of the system: to people, to tools, into effect.

A process of its own reads signed recommendations and hands each to the receivers that
a file names. Some are told (``webhook``, ``alertmanager``); others act (``http``,
``command``, ``flags``) and take the same lease as everybody else first. Each receiver
has its own queue, connections and threads: one that hangs delays no other.
"""
