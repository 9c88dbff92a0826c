"""Certificates made on the spot: an authority, a broker on loopback, clients."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from streams.wallclock import now_ms


class Authority:
    """Signs certificates and writes them as PEM into a folder.

    Parameters
    ----------
    folder : Path
        Where the files go.
    name : str
        Name of the authority and of its file.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        ca = self._certificate(self._name, self._key, is_authority=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(_pem(ca))

    def issue(self, name: str, password: str = "") -> tuple[Path, Path]:
        """Certificate and key of a name, for 127.0.0.1, in one and in two files."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(_named(name), key)
        secret: serialization.KeySerializationEncryption
        secret = serialization.NoEncryption()
        if password:
            secret = serialization.BestAvailableEncryption(password.encode())
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret
        )
        cert_file = self.folder / f"{name}.crt.pem"
        key_file = self.folder / f"{name}.key.pem"
        cert_file.write_bytes(_pem(certificate))
        key_file.write_bytes(key_pem)
        (self.folder / f"{name}.pem").write_bytes(key_pem + _pem(certificate))
        return cert_file, key_file

    def _certificate(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        is_authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.fromtimestamp(now_ms() / 1000, timezone.utc)  # noqa: UP017
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if not is_authority:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([loopback]), critical=False
            ).add_extension(x509.ExtendedKeyUsage(both), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
