"""Every metric by name: type, labels and meaning, as in ``docs/metrics.md``.

A metric that is rendered and not listed here is an error of the program, one that
is listed and not documented fails a test.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

PREFIX = "hypercare_"
R = ("service", "environment", "release")
"""What names a release in every metric about one."""

Kind = Literal["gauge", "counter", "info", "histogram"]


class Metric(NamedTuple):
    """One line of the table; ``name`` is without the prefix, as it is queried."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


RELEASE = (
    Metric(
        "release_info",
        "info",
        (*R, "baseline", "strategy", "owner", "criticality"),
        "Always 1: what is known about a release under judgement, for joins.",
    ),
    Metric(
        "release_window_open",
        "gauge",
        R,
        "1 while the release is inside its hypercare window; for release=other the "
        "number of such releases.",
    ),
    Metric(
        "release_evaluated_timestamp_seconds",
        "gauge",
        R,
        "Event time up to which the release has been judged.",
    ),
    Metric(
        "release_verdict",
        "gauge",
        (*R, "verdict"),
        "1 for the present verdict, 0 for the others, from the first one on.",
    ),
    Metric(
        "recommendation_open",
        "gauge",
        (*R, "component", "action", "mode", "severity"),
        "1 while a recommendation is open or acknowledged, 0 from the first "
        "evaluation on. Severity is page for criticality critical and high, else "
        "ticket; investigate never pages.",
    ),
    Metric(
        "release_rate_ratio",
        "gauge",
        (*R, "signal"),
        "Best estimate of the candidate's rate of bad units divided by the control's.",
    ),
    Metric(
        "release_rate_ratio_lower",
        "gauge",
        (*R, "signal"),
        "Lower limit of the rate ratio's 95 % confidence sequence.",
    ),
    Metric(
        "release_rate_ratio_upper",
        "gauge",
        (*R, "signal"),
        "Upper limit of the rate ratio's 95 % confidence sequence; +Inf if none.",
    ),
    Metric(
        "release_log_evidence",
        "gauge",
        (*R, "signal"),
        "Natural log of the evidence that the release made things worse.",
    ),
    Metric(
        "release_units_total",
        "counter",
        (*R, "unit"),
        "Units at risk compared since the deploy; unit is session, user or request.",
    ),
    Metric(
        "release_bad_units_total",
        "counter",
        (*R, "unit", "signal"),
        "Failed units of those compared since the deploy.",
    ),
    Metric(
        "release_excess_users_total",
        "gauge",
        R,
        "Failed users (sessions or requests where users are not known) since the "
        "onset beyond what the control's rate predicts; 0 without an episode.",
    ),
    Metric(
        "release_harm_info",
        "info",
        (*R, "id", "segment", "unit"),
        "1 while a recommendation is open: its id, where the harm is (everywhere, or "
        "attribute=value pairs) and what is counted.",
    ),
    Metric(
        "release_harm_onset_timestamp_seconds",
        "gauge",
        R,
        "Estimated event time at which the harm of the open recommendation began.",
    ),
    Metric(
        "release_harm_rate_ratio",
        "gauge",
        R,
        "Best estimate of the rate ratio inside the segment of the harm, since its "
        "onset.",
    ),
    Metric(
        "release_harm_rate_ratio_lower",
        "gauge",
        R,
        "Lower limit of the 95 % interval of release_harm_rate_ratio.",
    ),
    Metric(
        "release_harm_rate_ratio_upper",
        "gauge",
        R,
        "Upper limit of the 95 % interval of release_harm_rate_ratio; +Inf if none.",
    ),
    Metric(
        "release_harm_units",
        "gauge",
        R,
        "Units of the release inside the segment of the harm, since its onset.",
    ),
    Metric(
        "release_harm_bad_units",
        "gauge",
        R,
        "Failed ones among release_harm_units.",
    ),
    Metric(
        "release_decision_eta_seconds",
        "gauge",
        R,
        "Time until the evidence decides at the present ratio and traffic; absent "
        "where it would never.",
    ),
    Metric(
        "release_rollback_outcome",
        "gauge",
        (*R, "outcome", "severity"),
        "1 for what came of taking a release back, until an hour after it was clear: "
        "waiting, helped, did_not_help or unverified.",
    ),
)

SOURCES = (
    Metric(
        "source_last_event_timestamp_seconds",
        "gauge",
        ("service", "environment", "stream"),
        "Event time of the newest event of a stream.",
    ),
    Metric(
        "input_records_total",
        "counter",
        ("topic", "codec", "result", "reason"),
        "Records of the ingress topics and events of the log by what became of them; "
        "the log's own codec is called envelope.",
    ),
    Metric(
        "input_lag_seconds",
        "gauge",
        ("topic", "partition"),
        "Age of the newest applied record while others wait, else 0.",
    ),
    Metric(
        "stream_watermark_timestamp_seconds",
        "gauge",
        ("topic", "partition"),
        "Event time that the furthest service of the partition has reached.",
    ),
    Metric(
        "late_records_total",
        "counter",
        ("service",),
        "Events that came after their window had closed and were not counted.",
    ),
    Metric(
        "duplicate_records_total",
        "counter",
        ("service",),
        "Events whose id had been counted before.",
    ),
    Metric(
        "misrouted_records_total",
        "counter",
        (),
        "Records that a foreign partitioner sent to the wrong partition.",
    ),
    Metric(
        "detector_blind",
        "gauge",
        ("service", "environment", "reason"),
        "1 while nothing can be said: reason telemetry if a release of the service is "
        "unreliable, state (without a service) if a partition can not start, input "
        "(without a service) if most of the last 1000 records of a topic were refused.",
    ),
    Metric(
        "overflow_total",
        "counter",
        ("kind",),
        "What a limit pushed out: releases, strata values, scopes.",
    ),
)

ACTING = (
    Metric(
        "gate_requests_total",
        "counter",
        ("protocol", "answer"),
        "Requests to the gates by who speaks so and what it heard: a word of the "
        "protocol, or the status.",
    ),
    Metric(
        "executions_total",
        "counter",
        ("actuator", "outcome"),
        "Actions by who took them (the kind in front of the holder's name, else job) "
        "and how they ended. Every gate counts all: take the maximum, not the sum.",
    ),
    Metric(
        "kill_switch_engaged",
        "gauge",
        (),
        "1 while nothing may be executed: an order, or variable or file of the gate.",
    ),
    Metric(
        "gate_file_last_reload_successful",
        "gauge",
        ("file",),
        "0 if a file of the gate (tokens, certificate, flags) as it is now was refused "
        "and the one before is in force.",
    ),
    Metric(
        "mode_info",
        "info",
        ("service", "mode"),
        "1: how far machines may go, by the newest recommendation and by orders; "
        "service * is every one.",
    ),
    Metric(
        "approval_waiting_seconds",
        "gauge",
        R,
        "Time since the episode began of what a person has to agree to, 0 for what "
        "waits for nobody; absent without a recommendation.",
    ),
    Metric(
        "action_budget_remaining",
        "gauge",
        ("service", "environment"),
        "Rollbacks and halts that machines may still take alone within a day; absent "
        "where there was none.",
    ),
    Metric(
        "ping_pong_frozen",
        "gauge",
        ("service",),
        "1 while a service is frozen because it went back and forth, 0 after a person "
        "thawed it.",
    ),
    Metric(
        "drill_last_success_timestamp_seconds",
        "gauge",
        ("kind",),
        "When `hypercare drill` last went well, by the way it took; 0 if it never did.",
    ),
)
"""Served by the gates."""

SELF = (
    Metric("build_info", "info", ("version",), "Always 1: the code that decides."),
    Metric("rules_loaded", "gauge", (), "Rules of the newest valid rule set."),
    Metric(
        "rules_last_reload_successful",
        "gauge",
        (),
        "0 if the rule file as it is now was refused and an older set is in force.",
    ),
    Metric(
        "snapshot_age_seconds",
        "gauge",
        ("partition",),
        "Age of the newest snapshot while it lacks something, else 0.",
    ),
    Metric("snapshot_bytes", "gauge", ("partition",), "Size of the newest snapshot."),
    Metric(
        "tick_duration_seconds",
        "histogram",
        (),
        "Time it took to look at all partitions for ticks that are due.",
    ),
    Metric(
        "loop_stall_seconds",
        "histogram",
        (),
        "How much later than asked the event loop woke up a timer.",
    ),
    Metric(
        "detection_delay_seconds",
        "gauge",
        (),
        "Longest event time between estimated onset and recommendation among the "
        "open ones; absent without any.",
    ),
    Metric(
        "verdict_labels_total",
        "counter",
        ("rule", "label"),
        "Recommendations that people labelled right, wrong or late, by the rule in "
        "force; each label of one counts once.",
    ),
)

ACT = (
    Metric(
        "receiver_actions_total",
        "counter",
        ("receiver", "outcome"),
        "Actions that a receiver carried out (executed), tried (failed) or gave back "
        "(released), and those that were over by then, with the reason.",
    ),
    Metric(
        "deliveries_total",
        "counter",
        ("receiver", "state"),
        "Deliveries that are over: done, failed, dropped.",
    ),
    Metric("delivery_pending", "gauge", ("receiver",), "Deliveries that are not over."),
    Metric(
        "delivery_oldest_seconds",
        "gauge",
        ("receiver",),
        "Age of the oldest delivery that is not over, 0 without any; of a receiver "
        "that acts, of those that were tried.",
    ),
    Metric(
        "delivery_disabled",
        "gauge",
        ("receiver",),
        "1 after the receiver has answered 410: it is sent nothing any more.",
    ),
    Metric("act_active", "gauge", (), "1 in the process that delivers, 0 in others."),
    Metric(
        "act_unknown_hooks",
        "gauge",
        (),
        "Names in hooks of rules that recommendations carried since the start and no "
        "receiver has; the log says which.",
    ),
)
"""Of `hypercare act`; workers have none of them."""

METRICS: dict[str, Metric] = {
    m.name: m for m in (*RELEASE, *SOURCES, *ACTING, *SELF, *ACT)
}
