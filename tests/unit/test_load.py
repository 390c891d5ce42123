"""A load tells an error from what a withdrawal closed, and memory that grows from memory that a build moves."""

import asyncio
import os
from pathlib import Path

import httpx2
import pytest

from benchmarks._clients import KINDS, Ground, Reading, Stopped, is_error
from benchmarks._memory import children, growth


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("200", False),
        ("206", False),
        ("302", False),
        ("429 too_many_requests GET /v1/catalog", False),
        ("410 part_withdrawn", False),
        ("503 part_checking", False),
        ("500 internal GET /v1/catalog", True),
        ("410 extract_expired GET /v1/extracts/{}", True),
        ("503 store_unavailable GET /v1/catalog", True),
        ("no answer: ReadTimeout GET /v1/catalog", True),
        ("never ended GET /v1/extracts/{}", True),
        ("upload rejected", True),
    ],
)
def test_what_is_an_error(name, error):
    assert is_error(name) is error


def sampled(mb_at):
    return [(float(at), mb_at(at)) for at in range(0, 600, 2)]


def test_memory_that_grows_is_told_from_memory_that_a_build_moves():
    assert growth(sampled(lambda at: 200 + at / 10)).percent == pytest.approx(16, abs=1)
    assert growth(sampled(lambda at: 200 + min(at, 150))).percent == 0
    assert abs(growth(sampled(lambda at: 300 + 100 * (at % 30 < 6))).percent) < 1
    assert growth(sampled(lambda at: 200 + at / 10)).minutes == [
        203,
        209,
        215,
        221,
        227,
        233,
        239,
        245,
        251,
        257,
    ]


def test_a_process_that_is_not_there_is_missed():
    with pytest.raises(RuntimeError, match="no such process"):
        children({"web": f"not there {os.getpid()}"})


@pytest.mark.parametrize(
    ("status", "body", "counted"),
    [
        (200, {}, "200"),
        (410, {"code": "part_withdrawn"}, "410 part_withdrawn"),
        (500, {"code": "internal"}, "500 internal GET /v1/extracts/{}/files/{}"),
    ],
)
def test_every_answer_is_counted_once_without_ids(status, body, counted):
    client = Reading(Ground("http://x", {"researcher": "t"}, {}, [], b"", [], {}), 0)
    kind = "application/json" if status == 200 else "application/problem+json"

    async def asked():
        told = httpx2.MockTransport(
            lambda request: httpx2.Response(status, json=body, headers={"content-type": kind})
        )
        async with httpx2.AsyncClient(base_url="http://x", transport=told) as client.http:
            try:
                await client.ask("researcher", "GET", f"/v1/extracts/ext_1/files/{'a' * 64}.parquet?x=1")
            except Stopped:
                assert status != 200

    asyncio.run(asked())
    assert client.answers == {counted: 1}
    assert len(client.times) == 1


@pytest.mark.parametrize(
    ("taken", "again", "error"),
    [([], 200, True), ([], 410, False), ([(0.0, 1.0)], 200, True), ([(0.0, float("inf"))], 200, False)],
)
def test_a_download_that_ends_short_is_an_error_unless_a_withdrawal_closed_it(taken, again, error):
    client = Reading(Ground("http://x", {"researcher": "t"}, {}, [], b"", [], {}, taken), 0)

    def answer(request):
        if request.method == "GET":
            raise httpx2.RemoteProtocolError("ended short", request=request)
        return httpx2.Response(again)

    async def asked():
        transport = httpx2.MockTransport(answer)
        async with httpx2.AsyncClient(base_url="http://x", transport=transport) as client.http:
            with pytest.raises(Stopped):
                await client.ask("researcher", "GET", f"/v1/extracts/ext_1/files/{'a' * 64}.parquet")

    asyncio.run(asked())
    assert [is_error(name) for name in client.answers] == [error]


def test_there_are_the_four_kinds():
    assert set(KINDS) == {"reading", "uploading", "extracting", "withdrawing"}
    assert (Path(__file__).parents[2] / "benchmarks" / "load.py").exists()
