"""A Kafka as companies have it: TLS, users, client certificates, access lists."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
)

from streams.kafka_local import LocalKafka, free_ports, secured
from streams.permissions import Permission
from streams.settings import Settings
from streams.wallclock import now_ms
from tests.integration.certificates import Authority

USERS = {
    "worker": "Canary7worker",
    "sender": "Canary7sender",
    "reader": "Canary7reader",
    "creator": "Canary7creator",
    "actor": "Canary7actor",
    "person": "Canary7person",
    "drill": "Canary7drill",
    "nobody": "Canary7nobody",
}


class SecuredKafka:
    """One broker with a plain, a SASL_SSL and a mutual TLS listener.

    Parameters
    ----------
    folder : Path
        Data and certificates.
    version : str
        Apache Kafka's version.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.authority.issue("broker")
        port = free_ports(4)
        self.sasl, self.mutual = f"127.0.0.1:{port + 2}", f"127.0.0.1:{port + 3}"
        extras = secured(
            sasl_port=port + 2,
            mutual_port=port + 3,
            users=USERS,
            key_store=folder / "broker.pem",
            authorities=self.authority.file,
        )
        self.broker = LocalKafka(
            folder / "kafka", version=version, port=port, tied=True, extras=extras
        )

    def environment(
        self, user: str, mechanism: str = "SCRAM-SHA-512", **more: str
    ) -> dict[str, str]:
        """Variables with which a user comes in."""
        secret = self.folder / f"{user}.password"
        secret.write_text(USERS[user] + "\n", encoding="utf-8")
        found = {
            "": self.sasl,
            "_SECURITY": "SASL_SSL",
            "_SASL_MECHANISM": mechanism,
            "_CA_FILE": str(self.authority.file),
        }
        if mechanism == "OAUTHBEARER":
            token = self.folder / f"{user}.token"
            token.write_text(unsecured_token(user), encoding="ascii")
            found["_TOKEN_FILE"] = str(token)
        else:
            found |= {"_USERNAME": user, "_PASSWORD_FILE": str(secret)}
        found |= {f"_{name}": value for name, value in more.items()}
        return {f"HYPERCARE_KAFKA{name}": value for name, value in found.items()}

    def certificate_environment(self, user: str, password: str) -> dict[str, str]:
        """Variables with which a user comes in by certificate."""
        certificate, key = self.authority.issue(user, password)
        return {
            "HYPERCARE_KAFKA": self.mutual,
            "HYPERCARE_KAFKA_SECURITY": "SSL",
            "HYPERCARE_KAFKA_CA_FILE": str(self.authority.file),
            "HYPERCARE_KAFKA_CERT_FILE": str(certificate),
            "HYPERCARE_KAFKA_KEY_FILE": str(key),
            "HYPERCARE_KAFKA_KEY_PASSWORD": password,
        }

    def grant(self, principal: str, needs: Iterable[Permission]) -> None:
        """Allow what is listed."""
        with self.admin() as admin:
            answer = admin.create_acls([_acl(principal, need) for need in needs])
            assert not answer["failed"]

    def revoke(self, principal: str, needs: Iterable[Permission]) -> None:
        """Take back what is listed."""
        with self.admin() as admin:
            admin.delete_acls([_filter(principal, need) for need in needs])

    @contextmanager
    def admin(self) -> Iterator[Any]:
        """The super user on the plain listener."""
        made = KafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        with closing(made):
            yield made


def settings_of(environment: Mapping[str, str], prefix: str) -> Settings:
    """Settings of an environment, with names of their own."""
    names = {
        "HYPERCARE_PREFIX": prefix,
        "HYPERCARE_GROUP": prefix,
        "HYPERCARE_DEMO": "1",
    }
    return Settings.from_environment({**environment, **names})


def unsecured_token(subject: str, lifetime_s: int = 3600) -> str:
    """A token without a signature, as a broker takes it in tests (RFC 7515, A.5)."""
    now_s = now_ms() // 1000
    claims = {"sub": subject, "iat": now_s, "exp": now_s + lifetime_s}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "none"}, claims)
    ]
    return ".".join([*parts, ""])


def _acl(principal: str, need: Permission) -> ACL:
    return ACL(
        principal, "*", _operation(need), ACLPermissionType.ALLOW, _pattern(need)
    )


def _filter(principal: str, need: Permission) -> ACLFilter:
    return ACLFilter(
        principal, "*", _operation(need), ACLPermissionType.ALLOW, _pattern(need)
    )


def _pattern(need: Permission) -> ResourcePattern:
    kind = ACLResourcePatternType
    return ResourcePattern(
        ResourceType[need.kind.upper()],
        need.name,
        kind.PREFIXED if need.is_prefix else kind.LITERAL,
    )


def _operation(need: Permission) -> ACLOperation:
    words = {name.replace("_", ""): name for name in ACLOperation.__members__}
    return ACLOperation[words[need.operation.upper()]]
