"""scripts/audit, with a service of ours in place of OSV.dev."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "audit"

Asked = tuple[str, str, str]

KNOWN = ("PyPI", "jinja2", "2.4.1")
ADVISORIES: dict[str, dict[str, Any]] = {
    "GHSA-old": {"summary": "Of a version that nobody has."},
    "GHSA-bad": {
        "aliases": ["CVE-1"],
        "summary": "Anybody may do anything.",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "some-thing"},
                "ranges": [
                    {"type": "GIT", "events": [{"fixed": "abcdef"}]},
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.2.4"}]},
                ],
            }
        ],
    },
    "PYSEC-bad": {"aliases": ["CVE-1"], "details": "The same.\nAt length."},
    "GHSA-gone": {"withdrawn": "2026-01-01T00:00:00Z"},
    "GHSA-npm": {"summary": "Of the other package."},
}


class Service(ThreadingHTTPServer):
    """Speaks like OSV.dev."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.found: dict[Asked, list[str]] = {KNOWN: ["GHSA-old"]}
        self.asked: list[Asked] = []
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        results: list[dict[str, Any]] = []
        for query in queries:
            asked = (query["package"]["ecosystem"], query["package"]["name"], query["version"])
            self.server.asked.append(asked)
            names = self.server.found.get(asked, [])
            # One on a page, as many pages as it takes.
            page = int(query.get("page_token", 0))
            result: dict[str, Any] = {"vulns": [{"id": names[page]}]} if names else {}
            results.append(result | ({"next_page_token": str(page + 1)} if page + 1 < len(names) else {}))
        self._answer({"results": results})

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self._answer({"id": name} | ADVISORIES[name])

    def _answer(self, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, daemon=True)
        thread.start()
        yield service
        service.shutdown()
        thread.join(10)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project with two Python packages and one of npm."""
    for folder in ("requirements", "deploy/docker", "clients/typescript"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "requirements/a.txt").write_text(
        "# pins\nSome_Thing==1.2.3\nother==2+cpu ; python_version > '3'\n"
    )
    (tmp_path / "requirements/audit.toml").write_text("")
    (tmp_path / "deploy/docker/sbom.txt").write_text("some.thing==1.2.3\n")
    lock = {
        "": {"version": "0"},
        "node_modules/@a/b": {"version": "3.0.0"},
        "node_modules/c": {"resolved": "here", "link": True},
        "node_modules/@a/b/node_modules/d": {"version": "4.0.0"},
    }
    (tmp_path / "clients/typescript/package-lock.json").write_text(json.dumps({"packages": lock}))
    return tmp_path


def audit(service: str, root: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--service", service, "--root", str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_everything_pinned_is_asked_for(service: Service, checkout: Path) -> None:
    status, told = audit(service.url, checkout)
    assert (status, told) == (0, "audit: 4 packages, 0 known vulnerabilities, 0 ignored\n")
    assert set(service.asked) == {
        ("PyPI", "some-thing", "1.2.3"),
        ("PyPI", "other", "2"),
        ("npm", "@a/b", "3.0.0"),
        ("npm", "d", "4.0.0"),
        KNOWN,
    }


def test_what_this_project_pins(service: Service) -> None:
    status, told = audit(service.url, ROOT)
    assert status == 0, told
    names = {(ecosystem, name) for ecosystem, name, _ in service.asked}
    assert {("PyPI", "fastapi"), ("PyPI", "vllm"), ("PyPI", "cyclonedx-bom"), ("npm", "openai")} <= names


def test_a_vulnerability_fails(service: Service, checkout: Path) -> None:
    service.found["PyPI", "some-thing", "1.2.3"] = ["GHSA-bad", "PYSEC-bad", "GHSA-gone"]
    service.found["npm", "d", "4.0.0"] = ["GHSA-npm"]
    status, told = audit(service.url, checkout)
    assert status == 1
    # The same flaw under another name is told once, and one that was withdrawn not at all.
    assert told.splitlines() == [
        "audit: some-thing 1.2.3: GHSA-bad, CVE-1: Anybody may do anything.; fixed in 1.2.4",
        "       in requirements/a.txt, deploy/docker/sbom.txt",
        "audit: d 4.0.0: GHSA-npm: Of the other package.",
        "       in clients/typescript/package-lock.json",
        "audit: 4 packages, 2 known vulnerabilities, 0 ignored",
    ]


@pytest.mark.parametrize("name", ["GHSA-bad", "PYSEC-bad", "CVE-1"])
def test_reviewed_advisories_are_passed_over(service: Service, checkout: Path, name: str) -> None:
    service.found["PyPI", "some-thing", "1.2.3"] = ["GHSA-bad"] if name == "GHSA-bad" else ["PYSEC-bad"]
    (checkout / "requirements/audit.toml").write_text(
        f'[[ignored]]\nid = "{name}"\nreason = "Never called."\n[[ignored]]\nid = "CVE-0"\nreason = "Was."\n'
    )
    status, told = audit(service.url, checkout)
    assert status == 0
    assert "CVE-0 concerns nothing that is pinned any more" in told
    assert told.endswith("0 known vulnerabilities, 1 ignored\n")


@pytest.mark.parametrize("what", ["nobody", "forbidden", "stranger"])
def test_no_service_is_said(service: Service, checkout: Path, what: str) -> None:
    service.found["PyPI", "some-thing", "1.2.3"] = ["GHSA-bad"]
    url = service.url
    if what == "nobody":
        url = "http://127.0.0.1:9"
    elif what == "forbidden":
        service.status = 403
    else:  # something that says yes to everything
        del service.found[KNOWN]
    status, told = audit(url, checkout)
    assert status == 0
    assert told.startswith("audit: NOT CHECKED, the advisory service cannot be reached: ")


def test_what_is_not_pinned_is_refused(service: Service, checkout: Path) -> None:
    (checkout / "requirements/a.txt").write_text("some-thing>=1\n")
    status, told = audit(service.url, checkout)
    assert status == 1
    assert "'some-thing>=1' is not pinned to one version" in told
