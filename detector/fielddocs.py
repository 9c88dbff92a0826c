"""One sentence on every field of every structure of the envelope.

A table beside the types instead of docstrings inside them: it is what the page
and the JSON schema are made of, and a test holds it complete both ways.
"""

from __future__ import annotations

import msgspec

from detector import events

KIND_FIELD = "Which structure the object is; an unknown kind is refused by name."

FIELDS: dict[type[msgspec.Struct], dict[str, str]] = {
    events.Envelope: {
        "ts": "Start of the covered time in epoch milliseconds.",
        "service": "Service the record is about; the key of the log.",
        "window_s": "Length of the covered time in seconds; 0 is one instant, "
        "aggregates need 1 or more.",
        "id": "Idempotency key: a second record of the same service, kind, release "
        "and id is not counted.",
        "environment": "Environment the service runs in.",
        "sent_at": "When the sender sent it, by the sender's clock, in epoch "
        "milliseconds; corrects a clock that is wrong.",
        "received_at": "When the edge received it, in epoch milliseconds; the arrival "
        "clock of a replay.",
    },
    events.ReleaseRecord: {
        "release": "Release that produced the record, as the deploy names it.",
        "attrs": "Attributes for segments such as region, os or app_version; at most "
        "16, of which a rule uses the ones it names, or the service's first three.",
        "component": "Part of the release the record is about.",
        "component_version": "Version of that component.",
        "changes": "Flags, configurations, models and vendor SDKs in force, by name "
        "and version; at most 64.",
        "user": "User, hashed with the key of the installation where it enters.",
        "session": "Session, hashed with the key of the installation where it enters.",
        "trace_id": "Trace, to look at and to recognise repeats.",
        "url": "A sample to look at; credentials and query are removed.",
        "tenant": "Customer organisation, kept readable because it is a segment.",
        "synthetic": "True for probes and tests, which are never counted.",
        "sample_rate": "Share of the records that survived sampling, above 0 and up "
        "to 1.",
        "sender": "Process that sent an aggregate or numbers its records.",
        "seq": "Number of the record by its sender; with sender and ts it recognises "
        "repeats.",
    },
    events.PreviousSession: {
        "release": "Release of the session that ended.",
        "outcome": "How the session ended.",
        "started_ts": "When that session began, in epoch milliseconds.",
    },
    events.Usage: {
        "unit": "What one line stands for.",
        "outcome": "How a single unit ended; failed ones are counted as errors where "
        "no error record comes for the same unit.",
        "duration_ms": "How long a single unit took, in milliseconds.",
        "step": "Step of a funnel the unit reached; such a record adds no units at "
        "risk, records without a step do.",
        "count": "Requests in the window.",
        "sessions": "Sessions that started in the window; adds up over senders and "
        "windows.",
        "outcomes": "Requests of the window by outcome; together at most count.",
        "users": "Distinct users in this sender's window; does not add up.",
        "users_sketch": "Distinct users as an Apache DataSketches HLL sketch in "
        "base64, lg_k 4 to 16; adds up.",
        "previous_session": "How the session before this launch ended.",
    },
    events.Error: {
        "signature": "Ready signature; without one it is made of type and frames, or "
        "of type and message.",
        "type": "Type of the error or exception.",
        "message": "Message of the error; personal data in it is masked.",
        "frames": "Stack frames, top first.",
        "severity": "Severity; error and fatal are counted.",
        "handled": "True when the program went on as intended.",
        "count": "Lines of this signature in the window.",
        "sessions": "Sessions whose first error of this signature lies in the window; "
        "adds up.",
        "users": "Distinct users in this sender's window; does not add up.",
        "users_sketch": "Distinct users as an Apache DataSketches HLL sketch in "
        "base64, lg_k 4 to 16; adds up.",
    },
    events.ExponentialBuckets: {
        "offset": "Index of the first bucket.",
        "counts": "Durations per bucket, the one at offset first.",
    },
    events.ExponentialHistogram: {
        "scale": "Resolution: the base of the buckets is 2 to the power 2^-scale.",
        "zero_count": "Durations that are zero or too small to tell from it.",
        "positive": "Buckets of the durations above zero.",
    },
    events.Latency: {
        "bounds_ms": "Upper edges of the buckets in milliseconds, rising.",
        "counts": "Durations per bucket, one more than bounds_ms: the last is open.",
        "exponential": "The histogram in exponential form, instead of bounds and "
        "counts.",
        "step": "Step of a funnel the durations belong to.",
    },
    events.Feedback: {
        "channel": "Where the feedback came from.",
        "text": "What was said; personal data in it is masked.",
        "score": "Score of a single feedback, 1 to 5.",
        "urgency": "How urgent the sender or the channel says it is.",
        "category": "Topic the sender or the channel assigned.",
        "count": "Feedbacks in the window.",
        "score_sum": "Sum of the scores in the window; needs count.",
    },
    events.Deploy: {
        "release": "Release that is deployed.",
        "phase": "Step in the life of the release.",
        "strategy": "How it is rolled out.",
        "weight": "Share of the traffic or devices it is meant to get, 0 to 1; of a "
        "canary or ab the plan that usage is held against.",
        "scope": "Attributes the step is limited to, such as region, ring or tenant: "
        "the release took this part over wholly.",
        "predecessor": "Release it replaces; the preferred baseline.",
        "change": "What kind of change it is.",
        "components": "Components of the release by name and version.",
        "component": "The component that changes, where it is not the whole release.",
        "component_version": "Its version, where release names the whole release and "
        "not the component's version.",
        "depends_on": "Services or releases it needs.",
        "fixes": "Signatures of errors it is meant to end.",
        "rollback": "Whether it may be rolled back, and by whom: auto leaves that to "
        "the rule's mode, as saying nothing does; manual asks for a person's approval; "
        "after forbidden the way is forward. Later steps may only be more cautious.",
        "criticality": "How much depends on the service; rules match on it.",
        "owner": "Who owns the release.",
        "roster": "Roster that is paged.",
        "artifact": "What is deployed, as a package URL or digest.",
        "actor": "Who deployed it.",
        "change_url": "Where the change can be read.",
    },
    events.Command: {
        "name": "What is to be done.",
        "release": "Release it concerns.",
        "recommendation_id": "Recommendation it answers.",
        "actor": "Who gave the command.",
        "reason": "Why, in the actor's words.",
        "value": "Argument of the command, such as a mode or a label.",
        "rules_hash": "Canonical hash of the rule set that comes in force.",
        "rules_text": "The rule set itself, so that a replay needs no other file.",
    },
    events.Tick: {
        "sender": "Combiner that has written all it had of the service up to `ts`.",
        "senders": "How many combiners there are.",
    },
}
"""Descriptions by the structure that declares the field."""


def description(struct: type, field: str) -> str:
    """The sentence on a field, found where the field is declared.

    Raises
    ------
    KeyError
        When no structure it derives from describes the field.
    """
    for base in struct.__mro__:
        found = FIELDS.get(base, {}).get(field)
        if found is not None:
            return found
    raise KeyError(f"{struct.__name__}.{field} has no description in fielddocs.FIELDS")
