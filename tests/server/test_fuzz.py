"""No input is answered with a 5xx, and none is not answered."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.server.conftest import Live

BOUNDED = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""The same examples each time, and not many: a test that fails is one that somebody broke."""

QUESTION: list[Any] = [{"role": "user", "content": "What is one plus one?"}]
SOUND: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "mull-tiny", "messages": QUESTION},
    "/v1/completions": {"model": "mull-tiny", "prompt": "One"},
    "/v1/responses": {"model": "mull-tiny", "input": "What is one plus one?"},
    "/v1/messages": {"model": "mull-tiny", "messages": QUESTION, "max_tokens": 20},
    "/v1/messages/count_tokens": {"model": "mull-tiny", "messages": QUESTION},
    "/v1/score": {"model": "orm", "text_1": "What?", "text_2": "2"},
    "/v1/rerank": {"model": "orm", "query": "What?", "documents": ["2", "3"]},
    "/tokenize": {"model": "mull-tiny", "prompt": "One"},
    "/detokenize": {"model": "mull-tiny", "tokens": [79, 110]},
    "/v1/ttc/feedback": {"trace_id": "x", "right": True},
    "/v1/batches": {"input_file_id": "x", "endpoint": "/v1/responses", "completion_window": "24h"},
}
ADMIN = {"Authorization": "Bearer fuzz-admin"}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["\0", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "𝕏", "a" * 5000])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
words = st.text(string.ascii_lowercase + "_", max_size=12)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with everything switched on that routes depend on."""
    from tests.server.conftest import live_server

    folder: Path = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULL_ADMIN_KEY", "fuzz-admin")
        with live_server(
            traces={"dir": folder / "traces"}, batches={"dir": folder / "batches"}, limits={"tokens": 2000}
        ) as live:
            yield live


def answered(live: Live, method: str, path: str, **more: Any) -> int:
    response = live.http.request(method, path, **more)
    assert response.status_code < 500, (method, path, more, response.text)
    if response.status_code >= 400 and response.headers.get("content-type") == "application/json":
        error = response.json()["error"]
        assert error["message"]
        assert error["type"]
    return response.status_code


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_whatever_the_document_allows(fuzzed: Live) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    document = schemathesis.openapi.from_dict(fuzzed.http.get("/openapi.json").json())
    names = []
    for operation in document.get_all_operations():
        call = operation.ok()
        names.append(f"{call.method} {call.path}")

        @settings(BOUNDED, max_examples=10)
        @given(case=call.as_strategy())
        def check(case: Any) -> None:
            response = case.call(base_url=fuzzed.url, headers=ADMIN, timeout=20)
            assert response.status_code < 500, (case.method, case.path, case.body, response.text)

        check()
    assert {f"post {path}" for path in SOUND} <= {name.lower() for name in names}


@pytest.mark.parametrize("path", SOUND)
def test_a_sound_request_with_one_field_of_anything(fuzzed: Live, path: str) -> None:
    document = fuzzed.http.get("/openapi.json").json()
    schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    fields = sorted(schema["properties"])

    @BOUNDED
    @given(st.sampled_from(fields) | words, values)
    def check(field: str, value: Any) -> None:
        answered(fuzzed, "POST", path, json=SOUND[path] | {field: value}, headers=ADMIN)

    check()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_nested_fields_of_anything(fuzzed: Live, path: str) -> None:
    """A conversation, a strategy or a tool with something else at some place."""
    part = {"type": "text", "text": "What?"}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    whole: dict[str, Any] = {
        "messages": [{"role": "user", "content": [part]}, {"role": "assistant", "content": "2"}, *QUESTION],
        "ttc": {"strategy": "majority_vote", "n": 4, "budget": {"samples": 4}, "include": ["candidates"]},
        "tools": [tool],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": {"type": "object"}},
        },
    }
    if path != "/v1/chat/completions":
        whole = {"ttc": whole["ttc"], ("input" if path == "/v1/responses" else "messages"): whole["messages"]}

    def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        yield at
        inner = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, each in inner:
            yield from places(each, (*at, key))

    def put(value: Any, at: tuple[Any, ...], new: Any) -> Any:
        if not at:
            return new
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[at[0]] = put(copy[at[0]], at[1:], new)
        return copy

    @BOUNDED
    @given(st.sampled_from([at for at in places(whole) if at]), values, st.booleans())
    def check(at: tuple[Any, ...], value: Any, stream: bool) -> None:
        body = SOUND[path] | put(whole, at, value) | {"stream": stream}
        answered(fuzzed, "POST", path, json=body, headers=ADMIN)

    check()


@pytest.mark.parametrize("path", SOUND)
def test_bytes_of_any_kind(fuzzed: Live, path: str) -> None:
    @BOUNDED
    @given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
    @example(b"[" * 100_000)
    @example(b'{"model":' * 20_000)
    @example(b'{"model": NaN}')
    @example(b'{"model": 1e999}')
    @example(b'{"n": ' + b"9" * 5000 + b"}")
    @example(b'{"model": "\\ud800"}')
    @example(b'{"model": "a", "model": "b"}')
    @example(b"\xef\xbb\xbf{}")
    def check(body: bytes) -> None:
        content = {"Content-Type": "application/json"}
        status = answered(fuzzed, "POST", path, content=body, headers=ADMIN | content)
        assert 400 <= status < 500

    check()


def test_queries_paths_and_headers_of_any_kind(fuzzed: Live) -> None:
    paths = st.sampled_from(
        [
            "/v1/models/{}",
            "/v1/ttc/traces/{}",
            "/v1/ttc/traces/{}/events",
            "/v1/files/{}",
            "/v1/files/{}/content",
            "/v1/batches/{}",
            "/v1/responses/{}",
            "/v1/responses/{}/input_items",
            "/ui/{}",
            "/{}",
        ]
    )
    names = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
        ["..", "../../etc/passwd", "%00"]
    )

    @BOUNDED
    @given(
        paths, names, st.dictionaries(st.sampled_from(["limit", "after", "order", "speed", "stream"]), names)
    )
    def check(path: str, name: str, query: dict[str, str]) -> None:
        from urllib.parse import quote

        address = path.format(quote(name, safe=""))
        answered(fuzzed, "GET", address, params=query, headers=ADMIN)
        answered(fuzzed, "DELETE", address, headers=ADMIN)

    check()

    @BOUNDED
    @given(st.binary(max_size=50).map(lambda value: bytes(c for c in value if c > 32 and c != 127)))
    def headers(value: bytes) -> None:
        for name in (b"authorization", b"x-api-key", b"x-request-id", b"accept"):
            response = fuzzed.http.get("/v1/models", headers={name: value})
            assert response.status_code < 500

    headers()


def test_a_form_of_any_kind(fuzzed: Live) -> None:
    @BOUNDED
    @given(st.binary(max_size=300), st.text(string.printable, max_size=20), st.booleans())
    def check(body: bytes, boundary: str, framed: bool) -> None:
        if framed:
            body = b"--b\r\n" + body + b"\r\n--b--\r\n"
            boundary = "b"
        kind = f"multipart/form-data; boundary={json.dumps(boundary)}".encode()
        kind = kind.replace(b"\r", b"").replace(b"\n", b"")
        answered(fuzzed, "POST", "/v1/files", content=body, headers=ADMIN | {"Content-Type": kind.decode()})

    check()
