"""What the server tells Prometheus, beside the engines' own `vllm:*` metrics."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

from mull.errors import MullError

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

MOST_VALUES = 64
"""Of a label whose values others choose: plugins, and servers behind this one."""


class Values:
    """The values of one label: the first ones as they are, all further ones as `other`."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """The value to count under."""
        if value not in self._seen and len(self._seen) >= self._most:
            return "other"
        self._seen.add(value)
        return value


class Metrics:
    """One server's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "mull_requests", "Requests by outcome.", ["model", "strategy", "status"], registry=self._registry
        )
        self.running = Gauge("mull_running", "Requests being solved.", ["model"], registry=self._registry)
        self.seconds = Histogram(
            "mull_request_seconds",
            "Time to solve a request.",
            ["model", "strategy"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.first_token = Histogram(
            "mull_first_token_seconds",
            "Time until a stream has its first text of the answer.",
            ["model", "strategy"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.tokens = Counter(
            "mull_tokens",
            "Generated tokens: in returned answers, or hidden (search, cancelled work).",
            ["model", "strategy", "part"],
            registry=self._registry,
        )
        self.wasted = Counter(
            "mull_wasted_tokens",
            "Hidden tokens that served nothing: of aborted generations, or of requests without an answer.",
            ["model", "strategy", "reason"],
            registry=self._registry,
        )
        self.prompt_tokens = Counter(
            "mull_prompt_tokens",
            "Prompt tokens given to engines: computed, or read from the prefix cache.",
            ["model", "strategy", "source"],
            registry=self._registry,
        )
        self.engine_calls = Counter(
            "mull_engine_calls", "Engine requests.", ["model", "strategy"], registry=self._registry
        )
        self.verifier_calls = Counter(
            "mull_verifier_calls", "Verifier calls.", ["verifier"], registry=self._registry
        )
        self.verifier_tokens = Counter(
            "mull_verifier_tokens", "Tokens computed by verifiers.", ["verifier"], registry=self._registry
        )
        self.verifier_batches = Histogram(
            "mull_verifier_batch_size",
            "Candidates in a verifier call.",
            ["verifier"],
            buckets=SIZES,
            registry=self._registry,
        )
        self.verifier_seconds = Histogram(
            "mull_verifier_seconds",
            "Time of a verifier call.",
            ["verifier"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.verifier_errors = Counter(
            "mull_verifier_errors", "Verifier calls that failed.", ["verifier"], registry=self._registry
        )
        self.scores = Histogram(
            "mull_score", "Scores of candidates.", ["verifier"], buckets=SHARES, registry=self._registry
        )
        self.confidence = Histogram(
            "mull_confidence",
            "Confidence of answers: the winner's share of the votes, or its score.",
            ["model", "strategy"],
            buckets=SHARES,
            registry=self._registry,
        )
        self.depth = Histogram(
            "mull_search_depth",
            "Generations on the longest path of a search.",
            ["model", "strategy"],
            buckets=SIZES,
            registry=self._registry,
        )
        self.width = Histogram(
            "mull_search_width",
            "Most generations of a search at the same depth.",
            ["model", "strategy"],
            buckets=SIZES,
            registry=self._registry,
        )
        self.stops = Counter(
            "mull_stops", "Why searches ended.", ["model", "strategy", "reason"], registry=self._registry
        )
        self.exhausted = Counter(
            "mull_budget_exhausted",
            "Requests whose budget was spent, by what was spent first.",
            ["model", "strategy", "limit"],
            registry=self._registry,
        )
        self.errors = Counter(
            "mull_errors", "Errors told to clients.", ["status", "code"], registry=self._registry
        )
        self.engine_up = Gauge(
            "mull_engine_up", "Whether a model's engine answers.", ["model"], registry=self._registry
        )
        self.fallbacks = Counter(
            "mull_fallbacks",
            "Requests answered without their verifier.",
            ["verifier"],
            registry=self._registry,
        )
        self.waiting = Gauge(
            "mull_waiting", "Requests that wait until there is room for them.", registry=self._registry
        )
        self.waiting_seconds = Histogram(
            "mull_waiting_seconds",
            "Time that requests waited before they were begun.",
            buckets=SECONDS,
            registry=self._registry,
        )
        self.weight = Gauge(
            "mull_admitted_weight",
            "Generations that running requests may have in flight; `admission.running` is the most.",
            registry=self._registry,
        )
        self.refused = Counter(
            "mull_refused",
            "Requests for which there was no room, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self.key_requests = Counter(
            "mull_key_requests",
            "Requests begun, by the name of the API key.",
            ["key"],
            registry=self._registry,
        )
        self.key_tokens = Counter(
            "mull_key_tokens",
            "Tokens given to engines (prompt) and generated (completion), by the name of the API key.",
            ["key", "part"],
            registry=self._registry,
        )
        self.traces_lost = Counter(
            "mull_traces_lost", "Finished requests that could not be kept.", registry=self._registry
        )
        self.reloads = Counter(
            "mull_verifier_reloads", "Reloads of verifiers.", ["verifier", "outcome"], registry=self._registry
        )

        self.reason = Values()
        self._code = Values()

    def fail(self, error: MullError, status: int | None = None) -> None:
        """Count an error that a client is told."""
        self.errors.labels(str(status or error.status), self._code(error.code)).inc()

    def join(self, collector: Collector) -> None:
        """Tell what a collector finds as well."""
        self._registry.register(collector)

    def render(self) -> bytes:
        """All metrics of this process as Prometheus text, in-process engines included."""
        return generate_latest(self._registry) + generate_latest(REGISTRY)
