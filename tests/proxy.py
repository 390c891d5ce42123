"""A real nginx by deploy/nginx.conf, on a free port, in front of a web and a folder of released parts."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port

FILE = Path(__file__).parents[1] / "deploy" / "nginx.conf"
MARK = secrets.token_hex(24)
PATIENCE = 30.0
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here")


@contextmanager
def running(folder: Path, web: str, outbox: Path, mark: str = MARK) -> Iterator[str]:
    """The proxy's base URL. As the file says, but for its places, its port and TLS, which is not what is asked here."""
    folder.mkdir()
    (folder / "proxy_mark").write_text(f'proxy_set_header X-Baekman-Proxy "{mark}";\n')
    port = free_port()
    text = FILE.read_text(encoding="utf-8")
    for here, there in (
        ("listen 8443 ssl;", f"listen 127.0.0.1:{port};"),
        ("web:8000", web.removeprefix("http://")),
        ("/var/lib/baekman-outbox/", f"{outbox}/"),
        ("/run/secrets/", f"{folder}/"),
        ("/run/nginx.pid", f"{folder}/pid"),
        ("http {", "http {" + "".join(f" {name}_temp_path {folder}/{name};" for name in _TEMPORARY)),
    ):
        assert here in text
        text = text.replace(here, there)
    text = re.sub(r"^ *ssl_.*\n", "", text, flags=re.MULTILINE)
    (folder / "nginx.conf").write_text(text)
    told = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")  # parts are their owner's alone
    words = [
        "nginx",
        "-e",
        f"{folder}/error.log",
        "-p",
        str(folder),
        "-c",
        f"{folder}/nginx.conf",
        "-g",
        told,
    ]
    process = subprocess.Popen(words)
    try:
        _await(port, process, folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _await(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, (folder / "error.log").read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < end, "nginx did not come up"
        time.sleep(0.02)
