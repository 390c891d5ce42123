"""A Spark for one run, on this machine, on a cluster or behind Spark Connect: it starts as it must be, and ends."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.engines.protocol import Limits
from app.engines.spark.session import Session
from app.errors import Problem

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_CONNECT = ("pyspark", "pandas", "grpcio", "grpcio-status", "googleapis-common-protos", "zstandard")
_PORTS = {"spark": 7077, "sc": 15002}  # where the address names none
_PATIENCE = 10.0  # seconds, for a connection
_FOLDERS: list[Path] = []  # of the first session of the Java that runs
_ONE = threading.Lock()  # a process has one Spark context: builds on Spark come one after the other
_LOGS = Path(__file__).with_name("log4j2.properties")
# One plan must mean the same on both engines, and no literal may be taken for a variable.
_MEANING = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.variable.substitute": "false",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.compression.codec": "lz4_raw",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "true",
}


@contextmanager
def opened(limits: Limits, spill: Path) -> Iterator[Session]:
    """A session on this machine, on a cluster, or behind Spark Connect, as `limits.spark` says; it ends with the run,
    and whatever it wrote goes with the spill."""
    folder = spill / "spark"
    folder.mkdir(mode=0o700)
    with _ONE:
        try:
            session = Session(_start(limits, folder), folder)
            try:
                must_be_the_same(session.version)
                yield session
            finally:
                session.end()
        finally:
            os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)  # whatever came next would be taken for remote
            shutil.rmtree(folder, ignore_errors=True)
            _wipe_what_java_remembers(folder)


def must_be_here(limits: Limits) -> None:
    """Problem("engine_unavailable") where a part of PySpark is not installed that this place for it needs, or no Java
    that it could start, or where nobody answers at the place."""
    try:
        for name in _CONNECT if _is_remote(limits) else _CONNECT[:1]:
            importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError as missing:
        detail = "Apache Spark is not installed here, or not all of it: the extra `spark` of Baekman."
        raise Problem("engine_unavailable", detail) from missing
    home = os.environ.get("JAVA_HOME")
    if not _is_remote(limits) and shutil.which("java", path=f"{home}/bin" if home else None) is None:
        raise Problem("engine_unavailable", "Apache Spark needs a Java 17; there is none on the path.")
    _must_answer(limits.spark)


def must_be_the_same(version: str) -> None:
    """Problem("engine_unavailable") where the Spark that answers is not of the version that is installed here: another
    may understand the same words otherwise."""
    ours = importlib.metadata.version("pyspark")
    if version.split(".")[:2] != ours.split(".")[:2]:
        detail = f"Apache Spark answers in another version; it must be the one of PySpark here, {ours}."
        raise Problem("engine_unavailable", detail)


def _is_remote(limits: Limits) -> bool:
    return limits.spark.startswith("sc://")


def _must_answer(place: str) -> None:
    """Asked first: Spark itself would try for ten minutes. Other places than masters and servers it finds by itself."""
    scheme, _, rest = place.partition("://")
    if scheme not in _PORTS:
        return
    for one in rest.partition("/")[0].split(","):
        at = urlsplit(f"//{one}")
        with suppress(OSError, ValueError):
            if at.hostname:
                socket.create_connection((at.hostname, at.port or _PORTS[scheme]), _PATIENCE).close()
                return
    detail = "Nobody answers where the setting `spark` says that Apache Spark is."
    raise Problem("engine_unavailable", detail)


def _start(limits: Limits, folder: Path) -> SparkSession:
    must_be_here(limits)
    from pyspark import SparkContext
    from pyspark.sql import SparkSession  # here: only workers that need it have it

    logging.getLogger("SQLQueryContextLogger").disabled = True  # it writes queries to standard error
    place = limits.spark or f"local[{limits.threads}]"
    builder = SparkSession.builder.appName("baekman")
    for name, value in _MEANING.items():
        builder = builder.config(name, value)
    try:
        if _is_remote(limits):
            spark = builder.remote(place).create()
        else:
            os.environ.pop("SPARK_LOCAL_DIRS", None)  # it would lead shuffled rows out of the job's folder
            for name, value in _settings(place, limits, folder).items():
                builder = builder.config(name, value)
            if SparkContext._gateway is None:
                _FOLDERS[:] = [folder]
            spark = builder.master(place).getOrCreate()
    except Exception as error:
        if _is_remote(limits):
            _forget_what_half_began()
        else:
            end_java()  # what half began would go on in the folder of this job
        detail = "Apache Spark did not start; is there a Java 17, and does the master answer?"
        raise Problem("engine_unavailable", detail) from error
    if any(spark.conf.get(name) != value for name, value in _MEANING.items()):
        spark.stop()
        detail = "This Apache Spark does not let a session say what its SQL means (such as `spark.sql.ansi.enabled`)."
        raise Problem("engine_unavailable", detail)
    return spark


def _wipe_what_java_remembers(folder: Path) -> None:
    """A Java goes on making temporary files in the folder of its first context, which was that of a job long gone."""
    for first in _FOLDERS:
        if first != folder:
            shutil.rmtree(first, ignore_errors=True)
            with suppress(OSError):  # not empty, or not there: then it is somebody's
                first.parent.rmdir()
                first.parent.parent.rmdir()


def end_java() -> None:
    """End the Java of this process, if there is one; the next session starts another."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.kill()
        gateway.proc.wait()
        SparkContext._gateway = SparkContext._jvm = None


def _forget_what_half_began() -> None:
    """Behind Spark Connect the next session would ask by the channel of one that was refused, and counts as active."""
    from pyspark.sql.connect.session import SparkSession

    session = SparkSession.getActiveSession()
    if session is not None:
        # The server has none, and where nobody answers PySpark would ask it for ten minutes.
        session.release_session_on_close = False
        session.stop()


def _settings(place: str, limits: Limits, folder: Path) -> dict[str, str]:
    """What is settled when a context starts. On a cluster the addresses and memory are the deployment's."""
    quiet = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.eventLog.enabled": "false",
        "spark.metrics.appStatusSource.enabled": "false",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder / "local"),
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_LOGS}",
    }
    if not place.startswith("local"):
        # Executors would write what fails, with the values that it failed on, into files of their own. They find what
        # silences them in the spill, which they share; a deployment's options are `spark.executor.defaultJavaOptions`.
        silent = shutil.copyfile(_LOGS, folder / _LOGS.name)
        return {**quiet, "spark.executor.extraJavaOptions": f'"-Dlog4j2.configurationFile={silent}"'}
    return {
        **quiet,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": limits.spark_memory,
        "spark.sql.shuffle.partitions": str(2 * limits.threads),
        "spark.default.parallelism": str(limits.threads),
    }
