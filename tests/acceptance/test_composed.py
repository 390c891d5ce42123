"""What docker-compose.yml puts together, as processes of this machine: its own commands, settings and proxy."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pyarrow.parquet as pq
import pytest

from app.settings import Settings
from tests.acceptance.apart import PATIENCE, ROOT, Apart
from tests.acceptance.test_lost import CONSENTS, DICTIONARY, FILES
from tests.ports import free_port
from tests.postgres import fresh_database
from tests.unit.deploy.test_manifests import rendered

WEED = Path(sys.executable).with_name("weed")
OF_FILE = {"8333": "store", "8888": "filer", "9333": "master", "8000": "web", "8443": "proxy"}  # its ports
PARTS = ("store", "filer", "volume", "master", "admin", "web", "proxy")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here"),
]


class Composed:
    """The services of the file, each with a folder for each of its volumes; what it calls a host is this machine."""

    def __init__(self, folder: Path, database_url: str, stack: ExitStack) -> None:
        self.folder, self.database_url, self.stack = folder, database_url, stack
        self.ports = {part: free_port() for part in PARTS}
        self.secrets = folder / "secrets"
        made = _run("sh", str(ROOT / "deploy" / "secrets.sh"), str(self.secrets)).stdout
        self.url = f"https://localhost:{self.ports['proxy']}"
        told = dict(line.split("=", 1) for line in made.split())
        self.services = rendered({**told, "BAEKMAN_PUBLIC_URL": self.url})["services"]
        _run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost", "-keyout", str(self.secrets / "tls_key"),
             "-out", str(self.secrets / "tls_certificate"))  # fmt: skip
        (self.secrets / "store_identities").write_text((self.secrets / "store_identities.json").read_text())

    def here(self, text: str, service: str = "") -> str:
        """What a word of the file is on this machine."""
        for volume in self.services.get(service, {}).get("volumes", ()):
            name, path, *_ = volume.split(":")
            made = self.folder / name.removeprefix("./").replace("/", "_")
            if not name.startswith("./"):
                made.mkdir(exist_ok=True, mode=0o700)
                text = re.sub(rf"{re.escape(path)}(?=/|$)", str(made), text)
        for word, port in (
            ("8333", "store"),
            ("8888", "filer"),
            ("9333", "master"),
            ("8000", "web"),
            ("8443", "proxy"),
        ):
            text = re.sub(rf"(?<!\d){word}(?!\d)", str(self.ports[port]), text)
        text = re.sub(r"\b(store|web):", "127.0.0.1:", text.replace("/run/secrets", str(self.secrets)))
        return self.database_url if text.startswith("postgresql+psycopg://baekman@/baekman") else text

    def environment(self, service: str) -> dict[str, str]:
        """The service's settings, and nothing of ours but what a process needs."""
        told = {
            name: self.here(value, service) for name, value in self.services[service]["environment"].items()
        }
        return {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **told}

    def words(self, service: str, *instead: str) -> list[str]:
        """Its command line."""
        told = instead or tuple(self.here(word, service) for word in self.services[service]["command"])
        return [sys.executable, "-m", "app.cli", *told]

    def run(self, service: str, *instead: str) -> subprocess.CompletedProcess[str]:
        """Once, until it ends; with other words in place of its command, as `docker compose run` does."""
        return subprocess.run(
            self.words(service, *instead), env=self.environment(service), cwd=self.folder, text=True,
            capture_output=True, check=False, timeout=PATIENCE,
        )  # fmt: skip

    def start(
        self, service: str, words: list[str] | None = None, env: Mapping[str, str] | None = None
    ) -> Any:
        """Until the end of the test, and then it must end well when it is told to."""
        log = self.stack.enter_context((self.folder / f"{service}.log").open("ab"))
        process = subprocess.Popen(
            words or self.words(service), env=env or self.environment(service), cwd=self.folder, stdout=log,
            stderr=log,
        )  # fmt: skip
        self.stack.callback(_end, process)
        return process

    def objects(self) -> None:
        """The store and its buckets."""
        words = [self.here(word, "store") for word in self.services["store"]["command"]]
        more = [f"-{name}.port={self.ports[name]}" for name in ("master", "volume", "filer", "admin")]
        more += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        self.start("store", [str(WEED), *words, *more], {"PATH": "/usr/bin:/bin", "HOME": str(self.folder)})
        _until(lambda: socket.create_connection(("127.0.0.1", self.ports["store"]), 1).close())
        made = self.services["buckets"]
        script = self.here(made["command"][0]).replace("$$", "$").replace("weed shell", f"{WEED} shell")
        _until(lambda: _run(*made["entrypoint"], script))

    def proxy(self) -> None:
        """nginx by its own file."""
        text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
        text = text.replace("/run/nginx.pid", str(self.folder / "nginx.pid"))
        (self.folder / "nginx.conf").write_text(self.here(text, "proxy"))
        more = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")  # whose files the parts are
        words = ["nginx", "-c", str(self.folder / "nginx.conf"), "-p", str(self.folder), "-g", more]
        self.start("proxy", words, {"PATH": "/usr/sbin:/usr/bin:/bin"})

    def is_healthy(self) -> bool:
        """By the file's own question."""
        _, _python, *words = self.services["web"]["healthcheck"]["test"]
        told = [sys.executable, *(self.here(word) for word in words)]
        return subprocess.run(told, capture_output=True, check=False, timeout=30).returncode == 0


@contextmanager
def composed(folder: Path, database_url: str) -> Iterator[Composed]:
    with ExitStack() as stack:
        made = Composed(folder, database_url, stack)
        made.objects()
        assert (found := made.run("migrate")).returncode == 0, found.stderr
        yield made


@pytest.mark.again
def test_the_whole_walk_through_the_proxy(tmp_path: Path, postgres_url: str) -> None:
    with fresh_database(postgres_url) as url, composed(tmp_path, url) as made:
        first = json.loads(made.run("web", "bootstrap", "--json").stdout)
        made.start("web")
        for _ in range(made.services["worker"]["deploy"]["replicas"]):
            made.start("worker")
        made.start("backup")
        made.proxy()
        _until(made.is_healthy)
        context = ssl.create_default_context(cafile=str(made.secrets / "tls_certificate"))
        service = Apart(made.url, Settings(_env_file=None, database_url=url))
        service.http.close()
        service.http = httpx2.Client(base_url=made.url, timeout=60, verify=context)  # type: ignore[assignment]
        made.stack.callback(service.close)
        _until(lambda: service.http.get("/readyz").raise_for_status())
        service.sign_in_first(first)
        service.open()
        assert service.http.get("/.well-known/openid-configuration").json()["issuer"] == made.url
        assert "Strict-Transport-Security" in service.http.get("/healthz").headers
        service.register_cohort(DICTIONARY, [{"term": "HMB"}])
        service.upload("consents", CONSENTS)
        for name, content in FILES.items():
            service.upload(name, content)
        service.drain()
        service.publish()
        assert service.count("researcher")["hidden"] is False  # the number itself is blurred
        extract = service.extract(service.approve(service.request({name: [] for name in FILES})))
        got = service.download(extract)
        assert pq.read_table(io.BytesIO(got["visits"][0])).num_rows > 0
        name = next(iter(service.parts(extract)))
        part = service.call(
            "researcher", "GET", f"/v1/extracts/{extract}/files/{name}", headers={"Range": "bytes=0-3"}
        )
        assert (part.status_code, part.content) == (206, b"PAR1")
        assert service.http.get(f"/_parts/{extract}/{name}").status_code == 404
        assert (made.folder / "released" / extract / name).is_file()  # where the proxy reads it

        assert service.http.get("/metrics").status_code == 404  # for the inside alone
        inside = httpx2.get(f"http://127.0.0.1:{made.ports['web']}/metrics").text
        assert 'baekman_job_seconds{kind="build_extract",quantile="0.5"} ' in inside
        backed = made.run("backup", "backup", "--json")
        assert backed.returncode == 0, backed.stderr
        assert json.loads(backed.stdout)["objects"] == 4  # two tables, two parts
        looked = made.run("worker", "doctor", "--json")
        states = {one["name"]: one["state"] for one in json.loads(looked.stdout)["checks"]}
        assert looked.returncode == 0, looked.stdout
        assert {one for one, state in states.items() if state != "ok"} <= {
            "production: BAEKMAN_S3_ENDPOINT", "disk",
        }  # fmt: skip
        assert made.run("web", "doctor").returncode == 0

        path = f"/v1/cohorts/{service.ids['cohort']}/withdrawals"
        service.ok("hospital", "POST", path, {"participant": "P007", "kind": "destroy"})
        assert service.fetch(extract, name).status_code in (410, 503)
        service.drain()
        assert set(service.download(extract)) == set(got)
        assert service.ok("researcher", "GET", f"/v1/extracts/{extract}")["generation"] == 2
        assert service.failed_jobs() == []


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE)


def _until(act: Any) -> None:
    """Until it answers with anything but False, and without an error."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if act() is not False:
                return
        except (OSError, httpx2.HTTPError, subprocess.CalledProcessError):
            assert time.monotonic() < end
        time.sleep(0.3)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
