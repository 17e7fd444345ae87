"""Metrics: every name, its labels and unit in one table; Prometheus text out.

Names follow Prometheus: base units (seconds, bytes), ``_total`` for counters.
Labels have few values by design: never a device id.
"""

from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_GROUP = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Declaration:
    """One metric: what it is, what it counts, by which labels."""

    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = _SECONDS


DECLARATIONS: dict[str, Declaration] = {
    "gateway_submissions_total": Declaration(
        "counter",
        "Submissions by outcome: committed, duplicate, rejected, unavailable",
        ("transport", "kind", "outcome"),
    ),
    "gateway_refusals_total": Declaration(
        "counter", "What devices were refused for good, by reason", ("transport", "reason")
    ),
    "gateway_unavailable_total": Declaration(
        "counter", "What devices were asked to send again later, by reason", ("transport", "reason")
    ),
    "gateway_commands_total": Declaration(
        "counter", "Commands for devices by outcome: told, expired, invalid", ("outcome",)
    ),
    "gateway_logins_total": Declaration(
        "counter", "Proofs of devices by outcome: proven, refused, throttled", ("outcome",)
    ),
    "gateway_device_changes_total": Declaration(
        "counter", "Devices that came or went: online, offline, lost, silent", ("transport", "state")
    ),
    "gateway_submit_seconds": Declaration(
        "histogram", "From a complete submission to its receipt", ("transport", "kind")
    ),
    "gateway_intake_in_flight": Declaration("gauge", "Submissions being read or worked on"),
    "gateway_intake_in_flight_bytes": Declaration("gauge", "Bytes of payload held in memory"),
    "gateway_classify_seconds": Declaration(
        "histogram", "Time in the classifier by stage: wait, decode, preprocess, inference", ("stage",)
    ),
    "gateway_outbox_commit_seconds": Declaration("histogram", "One group commit, fsync included"),
    "gateway_outbox_commit_group_size": Declaration("histogram", "Requests in one group commit", buckets=_GROUP),
    "gateway_outbox_events": Declaration(
        "gauge", "Events in the outbox by state: pending, delivered, dead, held_back", ("state",)
    ),
    "gateway_outbox_rows_max": Declaration("gauge", "outbox.rows_max: the cap on the sum of gateway_outbox_events"),
    "gateway_outbox_epoch_events": Declaration(
        "gauge",
        "Events accepted since the epoch began, by what became of them; with the pending and the dead they add up to "
        "gateway_outbox_sequence_high and taken_over (events of a damaged file that this one began with)",
        ("outcome",),
    ),
    "gateway_outbox_tombstones": Declaration("gauge", "Tombstones that the cloud has not acknowledged yet"),
    "gateway_outbox_ballast_out": Declaration("gauge", "1 while the disk is full and the ballast was let go"),
    "gateway_outbox_bytes": Declaration("gauge", "Bytes used by the outbox file"),
    "gateway_outbox_bytes_max": Declaration("gauge", "outbox.bytes_max: the cap on gateway_outbox_bytes"),
    "gateway_outbox_sequence_high": Declaration("gauge", "The highest sequence given in this epoch"),
    "gateway_outbox_checks_total": Declaration(
        "counter", "Rounds of the check of the whole file by outcome: sound, damaged", ("outcome",)
    ),
    "gateway_outbox_check_rows": Declaration("gauge", "Rows read in this round of the check, or in the last one"),
    "gateway_outbox_salvaged_rows": Declaration("gauge", "Events and ids taken out of damaged files"),
    "gateway_outbox_damaged_sequences": Declaration(
        "gauge", "Sequences of which nothing was left in damaged files; the cloud may have them"
    ),
    "gateway_outbox_pruned_total": Declaration("counter", "Delivered events removed after their keeping time"),
    "gateway_policy_held_back_total": Declaration(
        "counter",
        "Events that a policy held back: min_probability, on_change, summary (stored, answered, not sent)",
        ("policy",),
    ),
    "gateway_summaries_total": Declaration("counter", "Summaries made of closed windows"),
    "gateway_outbox_oldest_pending_age_seconds": Declaration(
        "gauge",
        "Powered time that the oldest pending event of a priority has waited; 0 where none waits",
        ("priority",),
    ),
    "gateway_outbox_written_bytes_total": Declaration(
        "counter", "Bytes that the outbox caused to be written to its disk (what wears a flash card)"
    ),
    "gateway_outbox_sync_seconds": Declaration("gauge", "What a sync of the disk takes, averaged over recent commits"),
    "gateway_clock_trusted": Declaration("gauge", "1 while the wall clock is believed (clock.trust)"),
    "gateway_clock_jumps_total": Declaration("counter", "Times that the wall clock jumped"),
    "gateway_cloud_connected": Declaration("gauge", "1 while the hub has an accepted session with us"),
    "gateway_cloud_sessions_total": Declaration("counter", "Sessions ended, by reason", ("reason",)),
    "gateway_cloud_messages_total": Declaration(
        "counter", "Messages to the hub by outcome: acknowledged, lost, refused", ("outcome",)
    ),
    "gateway_cloud_messages_sent_total": Declaration(
        "counter", "Messages sent, by what they begin with: live, backlog, again (lost before), tombstones", ("lane",)
    ),
    "gateway_cloud_events_total": Declaration("counter", "Events by outcome: delivered, dead", ("outcome",)),
    "gateway_cloud_acknowledgement_age_seconds": Declaration(
        "gauge", "Age of the last acknowledgement while something is waiting for one; 0 otherwise"
    ),
    "gateway_cloud_child_restarts_total": Declaration("counter", "Replaced SDK processes, by reason", ("reason",)),
    "gateway_cloud_backoff_seconds": Declaration("gauge", "How long the forwarder waits before its next session"),
    "gateway_cloud_resting": Declaration(
        "gauge", "1 while the uplink rests, by why: quiet_hours, daily_budget_spent", ("reason",)
    ),
    "gateway_cloud_bytes_left_today": Declaration("gauge", "Bytes of cloud.bytes_per_day_max that are left"),
    "gateway_mqtt_chunked_pictures_total": Declaration(
        "counter",
        "Pictures in chunks by end: committed, refused, chunks_timed_out, chunks_replaced, chunks_crowded_out",
        ("outcome",),
    ),
    "gateway_mqtt_partial_pictures": Declaration("gauge", "Pictures in chunks that are not complete"),
    "gateway_mqtt_partial_bytes": Declaration("gauge", "Bytes of pictures in chunks that are not complete"),
    "gateway_mqtt_connections": Declaration("gauge", "Open MQTT connections", ("way",)),
    "gateway_mqtt_publishes_total": Declaration(
        "counter", "PUBLISHes by outcome: accepted, refused, held, unavailable", ("way", "qos", "outcome")
    ),
    "gateway_mqtt_replies_total": Declaration(
        "counter", "Results and commands for devices by outcome: sent, queued, dropped", ("way", "outcome")
    ),
    "gateway_mqtt_disconnects_total": Declaration("counter", "MQTT connections ended, by reason", ("way", "reason")),
    "gateway_http_requests_total": Declaration(
        "counter", "HTTP answers by route template and status", ("route", "status")
    ),
    "gateway_http_connections": Declaration("gauge", "Open HTTP connections of devices"),
    "gateway_http_connections_refused_total": Declaration(
        "counter", "HTTP connections closed by us, by reason", ("reason",)
    ),
    "gateway_mqtt_broker_connected": Declaration("gauge", "1 while the site's MQTT broker has a session with us"),
    "gateway_mqtt_broker_sessions_total": Declaration(
        "counter", "Connections to the MQTT broker that ended or failed, by reason", ("reason",)
    ),
    "gateway_mqtt_broker_messages_total": Declaration(
        "counter", "Messages of the MQTT broker: accepted, refused, abandoned, retained_copy", ("outcome",)
    ),
    "gateway_ble_links": Declaration("gauge", "Bluetooth devices connected now"),
    "gateway_ble_sessions_total": Declaration(
        "counter", "Bluetooth links that ended or could not be made, by reason", ("reason",)
    ),
    "gateway_ble_transfers_total": Declaration(
        "counter",
        "Bluetooth transfers by end: committed, refused, later, undecided, or why they were given up",
        ("profile", "outcome"),
    ),
    "gateway_ble_readings_total": Declaration(
        "counter", "Readings of Bluetooth sensors: committed, refused, later (lost), repeat", ("outcome",)
    ),
    "gateway_ble_devices_silent": Declaration("gauge", "Listed Bluetooth devices not heard for their time"),
    "gateway_ble_recovery_total": Declaration(
        "counter", "Steps against a silent radio: new_scanner, power_cycle, auto_recovery, unhealthy", ("rung",)
    ),
    "gateway_camera_pull_pictures_total": Declaration(
        "counter",
        "Pictures of pulled cameras by end: committed, unchanged, refused, unavailable, or why there was none",
        ("outcome",),
    ),
    "gateway_camera_pull_cameras": Declaration(
        "gauge", "Pulled cameras by state: new, online, lost, silent", ("state",)
    ),
    "gateway_camera_pull_seconds": Declaration(
        "histogram", "From asking a camera to its whole picture, without waiting for a place"
    ),
    "gateway_tasks": Declaration("gauge", "Tasks of the event loop that have not ended: what grows for days is a leak"),
    "gateway_heap_blocks": Declaration(
        "gauge", "Small blocks of memory that Python holds: what grows for days is a leak"
    ),
    "gateway_ble_failures_total": Declaration(
        "counter", "Times that Bluetooth could not be used or was lost, by reason", ("reason",)
    ),
}


class Metrics:
    """The real Meter: one registry, no module-level state."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for name, declared in DECLARATIONS.items():
            self._declare(name, declared)

    def _declare(self, name: str, declared: Declaration) -> None:
        if declared.kind == "counter":
            self._counters[name] = Counter(name, declared.text, declared.labels, registry=self._registry)
        elif declared.kind == "gauge":
            self._gauges[name] = Gauge(name, declared.text, declared.labels, registry=self._registry)
        else:
            self._histograms[name] = Histogram(
                name, declared.text, declared.labels, registry=self._registry, buckets=declared.buckets
            )

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add ``amount`` to a declared counter."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one observation to a declared histogram."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def level(self, name: str, value: float, **labels: str) -> None:
        """Set a declared gauge."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def exposition(self) -> bytes:
        """Return the Prometheus text format."""
        return generate_latest(self._registry)
