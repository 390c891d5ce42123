"""Spark that is not in this process: a cluster of a master and a worker, and Spark Connect, give the bytes of DuckDB.

All of them run on this machine, listen on its own address alone, and end with their test. What is marked `long` starts
three Javas or two, one after the other, so that no two workers do so at once.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyspark
import pytest

from app.engines.spark import session as sessions
from app.engines.spark.opening import end_java, must_be_here, must_be_the_same, opened
from app.engines.spark.session import SparkFailed
from app.errors import Problem
from tests import world as worlds
from tests.ports import free_port
from tests.s3 import end_with_parent
from tests.sparked import LIMITS, SECRET, a_java, built, lab_world, must_be_equal, must_not_be_in, on

PATIENCE = 180.0  # seconds in which a server must be up, however loaded the machine is
HOME = str(Path(pyspark.__file__).parent)
NAME = "김백만"
SILENT = Path(sessions.__file__).with_name("log4j2.properties")
# What docs/spark.md asks of every deployment.
QUIET = {"spark.ui.enabled": "false", "spark.master.rest.enabled": "false"}
PRIVATE = {
    "spark.authenticate": "true", "spark.network.crypto.enabled": "true", "spark.io.encryption.enabled": "true",
}  # fmt: skip
SMALL = {
    "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.memory": "768m",
    "spark.executor.memory": "768m", "spark.cores.max": "1", "spark.sql.shuffle.partitions": "2",
}  # fmt: skip


@pytest.fixture(scope="module")
def java() -> Iterator[None]:
    with a_java():
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[worlds.World]:
    with lab_world(tmp_path_factory.mktemp("elsewhere")) as made:
        yield made


# ---- what is refused before anything is asked ------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["sc://127.0.0.1:{}", "sc://127.0.0.1:{}/;use_ssl=true", "sc://"])
def test_where_nobody_answers_nothing_is_tried(place: str) -> None:
    with pytest.raises(Problem) as refused:
        must_be_here(replace(LIMITS, spark=place.format(free_port())))
    assert refused.value.code == "engine_unavailable"


@pytest.mark.usefixtures("java")
def test_of_several_masters_one_has_to_answer() -> None:
    closed, answering = f"127.0.0.1:{free_port()}", free_port()
    with pytest.raises(Problem) as refused:
        must_be_here(replace(LIMITS, spark=f"spark://{closed},{closed}"))
    assert refused.value.code == "engine_unavailable"
    with socket.create_server(("127.0.0.1", answering)):
        must_be_here(replace(LIMITS, spark=f"spark://{closed},127.0.0.1:{answering}"))


def test_a_spark_of_another_version_is_refused() -> None:
    first, second, _ = pyspark.__version__.split(".", 2)
    must_be_the_same(f"{first}.{second}.9-of-somebody")
    for other in ("3.5.1", f"{first}.{int(second) + 1}.0", f"{int(first) + 1}.{second}.0", ""):
        with pytest.raises(Problem) as refused:
            must_be_the_same(other)
        assert refused.value.code == "engine_unavailable"


# ---- whole extracts --------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.usefixtures("java")
def test_a_cluster_gives_the_bytes_of_duckdb_and_tells_nobody_a_key_or_a_name(
    world: worlds.World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A master and a worker that keep their lines to themselves, as docs/spark.md says; a driver in this process."""
    with _cluster(tmp_path / "cluster") as cluster:
        limits = replace(LIMITS, spark=cluster.place)
        told = must_be_equal(world.gate, world.plan, "person", "visit", "steps", "lab_test", limits=limits)
        ran = [*cluster.folder.glob("work/app-*/*/stderr")]
        assert ran  # an executor of the worker, not this process
        _must_not_tell_what_fails(cluster, tmp_path)
        assert len([*cluster.folder.glob("work/app-*/*/stderr")]) > len(ran)
        assert "baekman" in cluster.written()
        must_not_be_in(cluster.written(), SECRET, told["names"])
        assert not [*(world.var / "spill").iterdir()]
    said = capfd.readouterr()
    must_not_be_in(said.out + said.err, SECRET, told["names"])


@pytest.mark.long
@pytest.mark.usefixtures("java")
def test_spark_connect_gives_the_bytes_of_duckdb_and_tells_nobody_a_key_or_a_name(
    world: worlds.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A server that asks for a token, which this process has in its environment; whoever has another is refused."""
    with _connect(tmp_path / "server") as server:
        limits = replace(LIMITS, spark=server.place)
        monkeypatch.setenv("SPARK_CONNECT_AUTHENTICATE_TOKEN", "another")
        with on(world.gate, "spark", limits) as gate, pytest.raises(Problem) as refused:
            built(gate, world.plan, lambda _: None)
        assert refused.value.code == "engine_unavailable"
        monkeypatch.setenv("SPARK_CONNECT_AUTHENTICATE_TOKEN", server.token)
        told = must_be_equal(world.gate, world.plan, "person", "visit", "steps", "lab_test", limits=limits)
        _must_not_tell_what_fails(server, tmp_path)
        must_not_be_in(server.written(), SECRET, told["names"])
        assert not [*(world.var / "spill").iterdir()]
    assert "SPARK_CONNECT_MODE_ENABLED" not in os.environ
    said = capfd.readouterr()
    must_not_be_in(said.out + said.err, SECRET, told["names"])


def _must_not_tell_what_fails(there: Deployment, folder: Path) -> None:
    """A query that fails on a value: neither the error nor a line of a server holds it."""
    con = duckdb.connect()
    con.execute("CREATE TABLE rows AS SELECT $name AS s", {"name": NAME})
    with opened(replace(LIMITS, spark=there.place), folder) as session:
        session.lay("rows", con, "FROM rows")
        assert session.ask("SELECT s FROM rows")["s"].to_pylist() == [NAME]
        with pytest.raises(SparkFailed) as failed:
            session.ask("SELECT CAST(s AS INTEGER) AS n FROM rows")
    con.close()
    assert failed.value.condition == "CAST_INVALID_INPUT"
    assert NAME not in str(failed.value)
    assert NAME not in there.written()


# ---- servers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deployment:
    """Where it is asked for, and the folder that holds all it writes."""

    place: str
    folder: Path
    token: str = ""

    def written(self) -> str:
        """All lines of its servers, and of whoever works for them."""
        files = [*self.folder.glob("*.log"), *self.folder.glob("work/**/std*")]
        return "\n".join(file.read_text("utf-8", errors="replace") for file in files)


@contextmanager
def _cluster(folder: Path) -> Iterator[Deployment]:
    """A standalone cluster of a master and one worker of one core. The driver takes the same settings: it is started
    anew in this process, and ends."""
    folder.mkdir()
    port, page = free_port(), free_port()
    place = f"spark://127.0.0.1:{port}"
    settings = {**QUIET, **PRIVATE, **SMALL, "spark.authenticate.secret": secrets.token_hex(24)}
    here = _environment(folder, settings)
    there = {"SPARK_LOCAL_DIRS": str(folder / "local"), "SPARK_DAEMON_MEMORY": "256m"}
    package = "org.apache.spark.deploy"
    master = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page)]
    worker = ["--host", "127.0.0.1", "--webui-port", "0", "--cores", "1", "--memory", "1g"]
    worker += ["--work-dir", str(folder / "work"), place]
    before = {name: os.environ.get(name) for name in here}
    with (
        _running(f"{package}.master.Master", master, folder / "master.log", here | there) as first,
        _running(f"{package}.worker.Worker", worker, folder / "worker.log", here | there) as second,
    ):
        _await(lambda: _has_worker(page), first, second)
        end_java()
        os.environ.update(here)
        try:
            yield Deployment(place, folder)
        finally:
            end_java()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _connect(folder: Path) -> Iterator[Deployment]:
    """A server of Spark Connect with a Spark of its own, which asks for a token."""
    folder.mkdir()
    port, token = free_port(), secrets.token_hex(24)
    settings = {
        **QUIET, **SMALL, "spark.master": "local[1]", "spark.local.dir": str(folder / "local"),
        "spark.connect.grpc.binding.address": "127.0.0.1", "spark.connect.grpc.binding.port": str(port),
    }  # fmt: skip
    service = "org.apache.spark.sql.connect.service.SparkConnectServer"
    words = ["--class", service, "spark-internal"]
    environment = _environment(folder, settings) | {"SPARK_CONNECT_AUTHENTICATE_TOKEN": token}
    shutil.copy(SILENT, folder / "conf")
    with _running("org.apache.spark.deploy.SparkSubmit", words, folder / "server.log", environment) as server:
        there = Deployment(f"sc://localhost:{port}", folder, token)
        _await(lambda: _answers(there), server)
        yield there


def _environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """What servers and drivers of a deployment find their settings by."""
    (folder / "conf").mkdir()
    lines = "".join(f"{name} {value}\n" for name, value in settings.items())
    (folder / "conf/spark-defaults.conf").write_text(lines)
    return {"SPARK_HOME": HOME, "SPARK_CONF_DIR": str(folder / "conf"), "SPARK_LOCAL_IP": "127.0.0.1"}


@contextmanager
def _running(
    main: str, words: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A Java of Spark's in a process group of its own, which ends as a whole, whatever happens."""
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [f"{HOME}/bin/spark-class", main, *words],
            stdin=subprocess.DEVNULL, stdout=lines, stderr=lines, cwd=log.parent,
            env=os.environ | environment, process_group=0, preexec_fn=end_with_parent,
        )  # fmt: skip
    try:
        yield process
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
            except ProcessLookupError:
                break
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                continue
        process.wait()


def _await(is_up: Callable[[], bool], *processes: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_up():
        assert all(process.poll() is None for process in processes), "a server of Spark ended"
        assert time.monotonic() < end, "Spark did not come up"
        time.sleep(0.2)


def _has_worker(page: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/json/", timeout=10) as answer:
            return b'"aliveworkers" : 1' in answer.read()
    except OSError:
        return False


def _answers(server: Deployment) -> bool:
    try:
        must_be_here(replace(LIMITS, spark=server.place))
    except Problem:
        return False
    return True
