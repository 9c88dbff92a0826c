"""What a local broker has beyond one plain listener: TLS, users, access lists.

Off unless asked for; tests use it to be what companies have. The plain listener on
loopback stays: the nodes and whoever administers the test use it, as
``User:ANONYMOUS``, the only super user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECURED = "SECURED"
MUTUAL = "MUTUAL"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
MODULES = "org.apache.kafka.common.security"


@dataclass(frozen=True, slots=True)
class Listener:
    """One more address of a node.

    Clients are told to connect to ``advertised_port``, which may be a proxy's.
    """

    name: str
    port: int
    protocol: str = "PLAINTEXT"
    advertised_port: int | None = None


@dataclass(frozen=True, slots=True)
class Extras:
    """Listeners, broker settings and arguments of ``kafka-storage format``."""

    listeners: tuple[Listener, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    format_arguments: tuple[str, ...] = field(default=(), repr=False)

    def apply(self, text: str) -> str:
        """Return server properties with these listeners and settings."""
        more = {
            "listeners": [f"{x.name}://127.0.0.1:{x.port}" for x in self.listeners],
            "advertised.listeners": [
                f"{x.name}://127.0.0.1:{x.advertised_port or x.port}"
                for x in self.listeners
            ],
            "listener.security.protocol.map": [
                f"{x.name}:{x.protocol}" for x in self.listeners
            ],
        }
        lines = []
        for line in text.splitlines():
            name = line.partition("=")[0]
            lines.append(",".join([line, *more.get(name, [])]))
        lines += [f"{name}={value}" for name, value in self.properties.items()]
        return "\n".join(lines) + "\n"


def secured(
    *,
    sasl_port: int,
    mutual_port: int,
    users: Mapping[str, str],
    key_store: Path,
    authorities: Path,
) -> Extras:
    """A SASL_SSL listener, one with client certificates, and access lists.

    Every user may come with PLAIN and with SCRAM; with OAUTHBEARER the broker takes
    unsecured tokens, which are for tests only.

    Parameters
    ----------
    sasl_port, mutual_port : int
        Ports of the two listeners.
    users : mapping
        Passwords by name: letters and digits only.
    key_store : Path
        The broker's key and certificate in one PEM file.
    authorities : Path
        Certificate authorities of clients, PEM.
    """
    plain = " ".join(f'user_{name}="{word}"' for name, word in users.items())
    prefix = f"listener.name.{SECURED.lower()}"
    modules = {
        "plain": f"{MODULES}.plain.PlainLoginModule required {plain};",
        "oauthbearer": f"{MODULES}.oauthbearer.OAuthBearerLoginModule required "
        'unsecuredLoginStringClaim_sub="broker";',
        **{
            name.lower(): f"{MODULES}.scram.ScramLoginModule required;"
            for name in SCRAM
        },
    }
    properties = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(key_store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authorities),
        f"listener.name.{MUTUAL.lower()}.ssl.client.auth": "required",
        f"{prefix}.sasl.enabled.mechanisms": ",".join(("PLAIN", *SCRAM, "OAUTHBEARER")),
        **{f"{prefix}.{k}.sasl.jaas.config": v for k, v in modules.items()},
        "authorizer.class.name": (
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        ),
        "super.users": "User:ANONYMOUS",
    }
    arguments = [
        part
        for name, word in users.items()
        for mechanism in SCRAM
        for part in ("--add-scram", f"{mechanism}=[name={name},password={word}]")
    ]
    listeners = (
        Listener(SECURED, sasl_port, "SASL_SSL"),
        Listener(MUTUAL, mutual_port, "SSL"),
    )
    return Extras(listeners, properties, tuple(arguments))
