"""What the server tells Prometheus, beside the engines' own `vllm:*` metrics."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


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
        self.tokens = Counter(
            "mull_tokens",
            "Generated tokens: in returned answers, or hidden (search, cancelled work).",
            ["model", "strategy", "part"],
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
        self.stops = Counter(
            "mull_stops", "Why searches ended.", ["model", "strategy", "reason"], registry=self._registry
        )
        self.fallbacks = Counter(
            "mull_fallbacks",
            "Requests answered without their verifier.",
            ["verifier"],
            registry=self._registry,
        )
        self.traces_lost = Counter(
            "mull_traces_lost", "Finished requests that could not be kept.", registry=self._registry
        )
        self.reloads = Counter(
            "mull_verifier_reloads", "Reloads of verifiers.", ["verifier", "outcome"], registry=self._registry
        )

    def render(self) -> bytes:
        """All metrics of this process as Prometheus text, in-process engines included."""
        return generate_latest(self._registry) + generate_latest(REGISTRY)
