"""The first steps of the README, word for word, in a shell of their own against a service of their own."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


def first_steps() -> str:
    """Every shell block of the chapter, as one script."""
    chapter = (
        (ROOT / "README.md").read_text(encoding="utf-8").split("\n## First steps\n")[1].split("\n## ")[0]
    )
    return "\n".join(re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[dict[str, str]]:
    """`make serve` on an empty folder: what the first start prints becomes BASE and ADMIN."""
    port = str(free_port())
    base = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "BAEKMAN_VAR": str(tmp_path / "var")}
    log = tmp_path / "log"
    with log.open("wb") as file:
        command = [sys.executable, "-u", "-m", "app.cli", "serve", "--port", port]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        _wait(base, log)
        said = re.search(r"client id +(\S+)\n *client secret +(\S+)", log.read_text("utf-8"))
        assert said, log.read_text("utf-8")
        yield {"BASE": base, "ADMIN": f"{said[1]}:{said[2]}"}
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait(base: str, log: Path) -> None:
    end = time.monotonic() + 120
    with httpx.Client(timeout=2) as client:  # one: each reads the certificates of the machine anew
        while time.monotonic() < end:
            try:
                if client.get(f"{base}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise AssertionError(log.read_text("utf-8"))


@pytest.mark.again
def test_a_newcomer_gets_from_the_first_start_to_a_second_generation(service: dict[str, str], tmp_path: Path):
    folder = tmp_path / "newcomer"
    folder.mkdir()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", first_steps()],
        cwd=folder, env={**os.environ, **service}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(re.findall(r"^[0-9a-f]{64}\.parquet: OK$", done.stdout, re.MULTILINE)) == 2
    extract = json.loads((folder / "last.json").read_text("utf-8"))
    assert (extract["generation"], extract["state"], len(extract["recalls"])) == (2, "ready", 1)
    assert {p["state"] for p in extract["parts"] if p["generation"] == 1} == {"replaced"}
