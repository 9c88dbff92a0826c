"""Acts by one HTTP request that a template describes: a flag, a store, a deployment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from yarl import URL

from detector.rulefile.errors import Report
from detector.rulefile.kinds import INVALID, Choice, Integer, Text, refuse
from detector.rulefile.kinds import Kind as Value
from detector.rulefile.shapes import OneOrMany
from detector.rulefile.yamltree import Entries, Node, Scalar
from streams.actuators.keys import Address, Keys, Spec, Table
from streams.actuators.parcel import Parcel, Result, Word, drilled
from streams.actuators.receiver import Context, Kind, Receiver
from streams.actuators.retryafter import retry_after_ms
from streams.actuators.secrets import Lost, Secret, SecretKind
from streams.actuators.template import (
    TOLD,
    Form,
    Missing,
    Template,
    TemplateKind,
    values_of,
)
from streams.outgoing import NotSent, Reply, Unanswered

METHODS = ("POST", "PUT", "PATCH", "DELETE", "GET")
HEADER = r"[A-Za-z][A-Za-z0-9-]{0,63}"
SECRETIVE = ("authorization", "cookie", "token", "key", "secret", "password")
OURS = ("host", "content-length", "transfer-encoding", "connection")
TYPES = {"json": "application/json", "form": "application/x-www-form-urlencoded"}


class Http:
    """Makes one request and looks whether it worked.

    Parameters
    ----------
    receiver : Receiver
        Its plan has ``method``, ``url``, ``headers``, ``json`` or ``form``, and
        ``success``.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver, self._plan = receiver, receiver.plan
        self._out = receiver.outgoing()

    def obstacle(self, parcel: Parcel) -> str:
        """Which place can not be filled, or which secret is gone."""
        try:
            self._request(parcel)
        except (Missing, Lost) as error:
            return str(error)
        return ""

    async def deliver(self, parcel: Parcel, now_ms: int) -> Result:
        """Act once. What was sent and did not succeed for sure has failed."""
        try:
            url, headers, body = self._request(parcel)
            reply = await self._out.send(self._plan["method"], url, headers, body)
        except (Missing, Lost, NotSent) as error:
            return Result(Word.AGAIN, str(error))
        except Unanswered as error:
            return Result(Word.FAILED, f"sent, and no answer came: {error}")
        if reply.status == 429:
            # The one answer that says: nothing was done.
            detail = "answered 429"
            return Result(Word.AGAIN, detail, retry_after_ms(reply, now_ms))
        problem = shortfall(reply, self._plan["success"])
        return Result(Word.FAILED, problem) if problem else Result(Word.DONE)

    def _request(self, parcel: Parcel) -> tuple[URL, dict[str, str], bytes | None]:
        plan = self._plan
        values = values_of(parcel.record(), parcel.token, self._receiver.tables)
        headers = {n: _header(one, values) for n, one in plan["headers"].items()}
        body = None
        for name, kind in TYPES.items():
            if plan[name] is not None:
                body = plan[name].fill(values).encode()
                headers.setdefault("Content-Type", kind)
        return URL(plan["url"].fill(values), encoded=True), headers, body

    async def drill(self, parcel: Parcel, now_ms: int) -> Result:
        """Whether its secrets are there and its address may be reached; not sent."""
        found = await self.check()
        for one in self._plan["headers"].values():
            try:
                _header(one, values_of(parcel.record(), "", self._receiver.tables))
            except Lost as error:
                found.append(str(error))
            except Missing:
                continue  # a table has no line for a service that does not exist
        host = URL(self._plan["url"].text.split("{{")[0], encoded=True).host
        return drilled(found, f"not sent: {self._plan['method']} to {host}")

    async def check(self) -> list[str]:
        """Whether its address may be reached."""
        host = URL(self._plan["url"].text.split("{{")[0], encoded=True)
        try:
            await self._out.addresses(host)
        except NotSent as error:
            return [str(error)]
        return []

    def close(self) -> None:
        """Drop its threads."""
        self._out.close()


class Bearing:
    """A header's value: a secret behind a fixed word."""

    def __init__(self, prefix: str, secret: Secret) -> None:
        self.prefix, self.secret = prefix, secret


def _header(one: Template | Bearing, values: Mapping[str, str]) -> str:
    if isinstance(one, Template):
        return one.fill(values)
    return one.prefix + one.secret.reveal()


def shortfall(reply: Reply, success: Mapping[str, Any]) -> str:
    """Why an answer is no success; "" if it is."""
    if reply.status not in success["statuses"]:
        return f"answered {reply.status}"
    if success["pointer"] is None:
        return ""
    if reply.is_cut:
        return "the answer is longer than is read of it"
    try:
        found = pointed(json.loads(reply.body), success["pointer"])
    except (ValueError, LookupError, RecursionError):
        return f"the answer has nothing at {success['pointer']}"
    if type(found) is not type(success["equals"]) or found != success["equals"]:
        return f"{success['pointer']} is not as it should be"
    return ""


def pointed(value: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to.

    Examples
    --------
    >>> pointed({"a/b": [{"x": 7}]}, "/a~1b/0/x")
    7
    """
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


class _Header(Value):
    """A template, or a secret that may have a word in front."""

    def __init__(self, name: str, context: Context) -> None:
        self._name = name.lower()
        self._text = TemplateKind(Form.HEADER, TOLD + context.tables)
        self._secret = SecretKind(context.environment)

    def read(self, node: Node, path: str, report: Report) -> Any:
        """The header's value, or `INVALID` with the reason reported."""
        if self._name in OURS:
            report.add(node.place, f"{path}: this header is ours", "leave it out")
            return INVALID
        if not isinstance(node, Entries):
            if any(word in self._name for word in SECRETIVE):
                hint = f"write {self._secret.words()} with a prefix if it needs one"
                report.add(node.place, f"{path}: a secret in the file itself", hint)
                return INVALID
            return self._text.read(node, path, report)
        given = node.get("prefix")
        prefix = "" if given is None else Text(64).read(given, path, report)
        rest = tuple(e for e in node.entries if e[0].raw != "prefix")
        secret = self._secret.read(Entries(node.place, rest), path, report)
        return INVALID if INVALID in (prefix, secret) else Bearing(prefix, secret)

    def schema(self) -> dict[str, Any]:
        """Text or a mapping."""
        return {}

    def words(self) -> str:
        """What to write."""
        return "text, or {prefix: 'Bearer ', env: NAME}"


class _Scalar(Value):
    """Any JSON value that is no mapping and no list."""

    def read(self, node: Node, path: str, report: Report) -> Any:
        """The value, or `INVALID` with the reason reported."""
        if isinstance(node, Scalar):
            return node.value
        return refuse(node, path, report, self.words())

    def schema(self) -> dict[str, Any]:
        """Anything."""
        return {}

    def words(self) -> str:
        """What to write."""
        return "text, a number, true, false or null"


class _Pointer(Text):
    """A JSON pointer."""

    def read(self, node: Node, path: str, report: Report) -> Any:
        """The pointer, or `INVALID` with the reason reported."""
        found = super().read(node, path, report)
        if found is not INVALID and not found.startswith("/"):
            report.add(node.place, f"{path}: a pointer begins with /", "write /a/b")
            return INVALID
        return found


SUCCESS: Mapping[str, Any] = {
    "statuses": tuple(range(200, 300)),
    "pointer": None,
    "equals": None,
}


def _keys(context: Context) -> Mapping[str, Spec]:
    names = TOLD + context.tables
    success = Keys(
        {
            "statuses": Spec(OneOrMany(Integer(200, 299), 20), SUCCESS["statuses"]),
            "pointer": Spec(_Pointer(256), None),
            "equals": Spec(_Scalar(), None),
        }
    )
    return {
        "method": Spec(Choice(METHODS), "POST"),
        "url": Spec(Address(names)),
        "headers": Spec(Table(HEADER, lambda name: _Header(name, context)), {}),
        "json": Spec(TemplateKind(Form.JSON, names), None),
        "form": Spec(TemplateKind(Form.FORM, names), None),
        "success": Spec(success, SUCCESS),
    }


KIND = Kind(_keys, Http, acts=True)
