"""Certificates of the gates: read at the start, and again when they change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from streams.errors import Refused
from streams.filewatch import FileWatch

logger = logging.getLogger(__name__)


class Certificates:
    """The certificate in force; new connections see a new one at once.

    Parameters
    ----------
    certificate, key : Path
        PEM files; the key is not encrypted.
    clients : Path or None
        Who signs the clients' certificates; None asks for none.

    Attributes
    ----------
    is_current : bool
        Whether the files as they are now are in force.

    Raises
    ------
    Refused
        If the files do not fit.
    """

    def __init__(self, certificate: Path, key: Path, clients: Path | None) -> None:
        self._files = certificate, key
        self._clients = clients
        self._watch = FileWatch(certificate, key)
        self.context = self._made()
        self.is_current = True

    def poll(self) -> None:
        """Take changed files; a pair that does not fit leaves the old one in force.

        The authority of clients is read at the start only: what it lets in must not
        widen while nobody looks.
        """
        if not self._watch.changed():
            return
        try:
            self._made()
            self._load(self.context)
        except (Refused, OSError) as error:
            self.is_current = False
            logger.error("gates.certificate_refused the old one holds: %s", error)
        else:
            self.is_current = True
            logger.info("gates.certificate_reloaded file=%s", self._files[0])

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._load(context)
            if self._clients is not None:
                context.load_verify_locations(self._clients)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:
            names = ", ".join(str(one) for one in (*self._files, self._clients) if one)
            raise Refused(
                f"{names}: no certificate with its key: {error.strerror or error}"
            ) from error
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        # An encrypted key would ask whoever sits at the terminal.
        context.load_cert_chain(*self._files, password=lambda: "")
