"""Figures for Prometheus (`GET /metrics`): what the gateway did since it started.

Every label is a word of the operator (route, version, upstream) or of a list in the code (status, reason): a client can make
no new series. The registry is the gateway's own, so that two of them in a process do not meet.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from laconic.traffic.records import TrafficRecord
from laconic.traffic.writer import TrafficWriter

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
MODEL_LABELS = ("route", "version")


class GatewayMetrics:
    """The counters of one gateway."""

    def __init__(self, writer: TrafficWriter) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "laconic_requests", "Requests by how they ended", (*MODEL_LABELS, "status"), registry=registry
        )
        self.denials = Counter("laconic_denials", "Errors that clients got", ("reason",), registry=registry)
        self.losses = Counter(
            "laconic_upstream_losses",
            "Attempts after which another upstream is asked",
            ("upstream", "reason"),
            registry=registry,
        )
        self.tokens = Counter(
            "laconic_tokens", "Tokens by what they were for", (*MODEL_LABELS, "of"), registry=registry
        )
        self.cost = Counter("laconic_cost", "Cost by the prices of the route", MODEL_LABELS, registry=registry)
        self.in_flight = Gauge("laconic_in_flight", "Requests in flight", registry=registry)
        self.seconds = Histogram(
            "laconic_seconds", "Whole time of a request", MODEL_LABELS, buckets=SECONDS, registry=registry
        )
        self.first_token_seconds = Histogram(
            "laconic_first_token_seconds", "Time to the first token", MODEL_LABELS, buckets=SECONDS, registry=registry
        )
        registry.register(_StoreCollector(writer))

    def note(self, record: TrafficRecord) -> None:
        """Count a request that ended."""
        labels = (record.route, record.version)
        self.requests.labels(*labels, str(record.status)).inc()
        self.seconds.labels(*labels).observe(record.seconds)
        if record.first_token_seconds is not None:
            self.first_token_seconds.labels(*labels).observe(record.first_token_seconds)
        kinds = {
            "prompt": record.prompt_tokens,
            "completion": record.completion_tokens,
            "thinking": record.thinking_tokens,
        }
        for kind, number in kinds.items():
            if number:
                self.tokens.labels(*labels, kind).inc(number)
        if record.cost:
            self.cost.labels(*labels).inc(record.cost)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)


class _StoreCollector(Collector):
    """What the writer of the store counts itself."""

    def __init__(self, writer: TrafficWriter) -> None:
        self.writer = writer

    def collect(self) -> Iterator[Metric]:
        """One family for each count."""
        counts: dict[str, Any] = {
            "written": "Records written to the store",
            "dropped": "Records dropped, as the store was away for too long",
            "withheld_texts": "Texts that could not be redacted and were not kept",
            "failures": "Batches that the store refused",
        }
        for name, words in counts.items():
            yield CounterMetricFamily(f"laconic_store_{name}", words, value=getattr(self.writer.counts, name))
        yield GaugeMetricFamily(
            "laconic_store_is_well", "1 while the store takes records", value=float(self.writer.is_well)
        )
