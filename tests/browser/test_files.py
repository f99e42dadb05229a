"""How the page's files are served; these tests need no browser."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

UI = Path(__file__).parents[2] / "server" / "ui"
NAMES = sorted(path.relative_to(UI).as_posix() for path in UI.rglob("*") if path.is_file())
MEDIA = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}


@pytest.fixture(scope="module")
def http(served: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=20) as client:
        yield client


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_served_safely_and_kept_by_browsers(http: httpx.Client, name: str) -> None:
    reply = http.get(f"/ui/{name}")
    assert reply.status_code == 200
    assert reply.content == (UI / name).read_bytes()
    assert reply.headers["content-type"].startswith(MEDIA[Path(name).suffix])
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "unsafe" not in policy
    again = http.get(f"/ui/{name}", headers={"If-None-Match": reply.headers["etag"]})
    assert again.status_code == 304
    assert again.headers["content-security-policy"] == policy
    assert http.head(f"/ui/{name}").headers["etag"] == reply.headers["etag"]


def test_the_short_address_leads_to_the_page(http: httpx.Client) -> None:
    assert http.get("/ui").headers["location"] == "ui/"
    assert http.get("/ui", follow_redirects=True).text == (UI / "index.html").read_text()


@pytest.mark.parametrize(
    "path", ["/ui/nothing.js", "/ui/../page.py", "/ui/%2e%2e/page.py", "/ui/..%2fpage.py", "/ui/style"]
)
def test_nothing_else_is_served(http: httpx.Client, path: str) -> None:
    reply = http.get(path, follow_redirects=True)
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith(".svg")])
def test_no_file_names_another_server_and_no_text_can_become_markup(name: str) -> None:
    text = (UI / name).read_text()
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
    assert not addresses
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function", text
    )
    assert text.count("\n") <= 250, "small files, please"


def test_measurements_that_are_not_there(http: httpx.Client) -> None:
    reply = http.get("/v1/ttc/bench")
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "bench_not_configured"
    assert "bench_dir" in reply.json()["error"]["message"]


def test_the_newest_measurements_are_told(serve: Any, tmp_path: Path) -> None:
    for name, model in (("old", "a"), ("new", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(f'{{"model": "{model}", "ratio": Infinity, "runs": []}}')
    newer = (tmp_path / "old" / "report.json").stat().st_mtime + 10
    os.utime(tmp_path / "new" / "report.json", (newer, newer))
    with serve(bench_dir=tmp_path) as served:
        assert httpx.get(f"{served.url}/v1/ttc/bench").json() == {
            "object": "ttc.bench",
            "model": "b",
            "ratio": None,
            "runs": [],
        }
        (tmp_path / "new" / "report.json").write_text("{")
        broken = httpx.get(f"{served.url}/v1/ttc/bench")
        assert broken.status_code == 500
        assert "cannot be read" in broken.json()["error"]["message"]


def test_measurements_are_for_those_with_a_key(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"model": "a", "runs": []}')
    with serve(bench_dir=tmp_path, api_keys=["secret"]) as served:
        assert httpx.get(f"{served.url}/v1/ttc/bench").status_code == 401
        assert (
            httpx.get(f"{served.url}/v1/ttc/bench", headers={"Authorization": "Bearer secret"}).status_code
            == 200
        )
        assert httpx.get(f"{served.url}/ui/").status_code == 200
