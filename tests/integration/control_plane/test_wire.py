"""What every route keeps: problem documents in our words, true methods, pages that do not shift, POSTs that repeat."""

import pytest
from sqlalchemy import func, select

from app.errors import Problem
from app.jobs import answers
from app.jobs.answers import Once, earlier, forget, keep
from app.models import IdempotentAnswer, Institution
from tests.integration.control_plane.world import ON_BOTH, World, asking, together


def test_a_body_is_refused_with_every_place_and_no_value(world: World):
    body = {"name": 5, "country": "Kim Secret", "secret_name": "Kim Secret"}
    told = world.problem(422, "invalid_request", "platform", "POST", "/v1/institutions", body)
    assert {p["pointer"] for p in told["problems"]} == {"/name", "/country", "/secret_name"}
    assert "Kim Secret" not in str(told)
    assert set(told) >= {"type", "title", "title_ko", "status", "detail", "code", "instance"}


@pytest.mark.parametrize(
    ("sent", "media_type", "status"),
    [
        (b"{", "application/json", 422),
        (b"name=x", "application/x-www-form-urlencoded", 415),
        (b"\xff\xfe", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"[" * 5000, "application/json", 422),
        (b'{"name": "a\\u0000b"}', "application/json", 422),
        (b'{"name": "\\ud800"}', "application/json", 422),
        (b'{"name": NaN}', "application/json", 422),
        (b"", "application/json", 422),
    ],
)
def test_what_is_not_json_is_refused(world: World, sent: bytes, media_type: str, status: int):
    headers = {"Authorization": "Bearer platform", "Content-Type": media_type}
    answer = world.client.post("/v1/institutions", content=sent, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@ON_BOTH
def test_free_parts_of_a_body_hold_nothing_a_database_cannot_store(world: World):
    world.holder()
    form = {"version": "1", "language": "ko", "sha256": "a" * 64, "domains": ["clinical"]}
    body = {"name": "c", "consent_form": form, "duo": [{"term": "GRU", "x": ["a\0b"]}]}
    told = world.problem(422, "invalid_request", "holder", "POST", "/v1/cohorts", body)
    assert [p["pointer"] for p in told["problems"]] == ["/duo/0/x/0"]


def test_a_method_that_is_not_there_is_told_with_all_that_are(world: World):
    answer = world.call("holder", "DELETE", "/v1/institutions")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"
    answer = world.call("holder", "DELETE", "/v1/versions/ver_x/dictionary")
    assert answer.headers["allow"] == "GET, PUT"


def test_an_unknown_path_and_a_missing_token_are_problems(world: World):
    world.problem(404, "not_found", "platform", "GET", "/v1/nothing")
    world.problem(401, "invalid_token", None, "GET", "/v1/cohorts")
    world.problem(403, "insufficient_scope", "platform", "GET", "/v1/requests")


def test_what_breaks_inside_says_nothing_of_itself(world: World, monkeypatch: pytest.MonkeyPatch, capsys):
    def broken(*_args: object) -> None:
        raise RuntimeError("Kim Secret 900101-1234567")

    monkeypatch.setattr(type(world.house.catalog), "progress", broken)
    answer = world.call(None, "GET", "/v1/progress", X_Request_Id="abcdefgh-1")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "abcdefgh-1"
    printed = capsys.readouterr()
    assert "Secret" not in answer.text + printed.out + printed.err
    assert "RuntimeError" in printed.out


def test_a_request_id_of_ours_where_theirs_is_no_id(world: World):
    given = world.call(None, "GET", "/v1/progress", X_Request_Id="a b").headers["x-request-id"]
    assert len(given) == 16


def test_pages_do_not_shift_when_something_is_added(world: World):
    names = [f"Hospital {i}" for i in range(5)]
    for name in names:
        world.ok("platform", "POST", "/v1/institutions", {"name": name})
    first = world.ok("platform", "GET", "/v1/institutions?limit=2")
    world.ok("platform", "POST", "/v1/institutions", {"name": "late"})
    second = world.ok("platform", "GET", f"/v1/institutions?limit=2&cursor={first['next_cursor']}")
    third = world.ok("platform", "GET", f"/v1/institutions?limit=2&cursor={second['next_cursor']}")
    assert [i["name"] for page in (first, second, third) for i in page["items"]] == names[::-1]
    assert third["next_cursor"] is None
    world.problem(422, "invalid_request", "platform", "GET", "/v1/institutions?limit=0")


def institutions(world: World) -> int:
    with world.db.read() as session:
        return session.scalar(select(func.count()).select_from(Institution)) or 0


@ON_BOTH
def test_a_repeated_post_makes_nothing_twice_and_answers_the_same(world: World):
    first = world.call("platform", "POST", "/v1/institutions", {"name": "A"}, Idempotency_Key="k1")
    world.now.pass_days(1)
    second = world.call("platform", "POST", "/v1/institutions", {"name": "A"}, Idempotency_Key="k1")
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.headers["location"] == second.headers["location"]
    assert institutions(world) == 1
    world.problem(
        409,
        "idempotency_conflict",
        "platform",
        "POST",
        "/v1/institutions",
        {"name": "B"},
        Idempotency_Key="k1",
    )


def test_a_key_belongs_to_its_asker_and_route(world: World):
    world.holder("one")
    world.holder("two")
    form = {"version": "1", "language": "ko", "sha256": "a" * 64, "domains": ["clinical"]}
    body = {"name": "c", "consent_form": form, "duo": [{"term": "GRU"}]}
    first = world.ok("one", "POST", "/v1/cohorts", body, Idempotency_Key="k")
    second = world.ok("two", "POST", "/v1/cohorts", body, Idempotency_Key="k")
    assert first["id"] != second["id"]
    path = f"/v1/cohorts/{first['id']}/datasets"
    world.problem(409, "idempotency_conflict", "one", "POST", path, {"name": "d"}, Idempotency_Key="k")


@ON_BOTH
def test_a_refused_call_leaves_nothing_and_may_be_repeated(world: World):
    world.ok("platform", "POST", "/v1/institutions", {"name": "A"})
    world.problem(409, "conflict", "platform", "POST", "/v1/institutions", {"name": "A"}, Idempotency_Key="k")
    with world.db.read() as session:
        assert session.scalar(select(func.count()).select_from(IdempotentAnswer)) == 0


@ON_BOTH
def test_calls_of_one_key_at_once_make_one_thing(world: World):
    made_ids: list[str] = []

    def post() -> None:
        once = Once("client:platform", "k", "POST /v1/institutions", "d")
        made = world.house.cohorts.register_institution(world.people["platform"], {"name": "A"}, once)
        made_ids.append(made["id"])

    together([post] * 6)
    assert len(made_ids) == 6
    assert len(set(made_ids)) == 1
    assert institutions(world) == 1


def test_what_is_kept_of_a_call_holds_no_word_that_was_sent(world: World):
    _dataset, version = world.published()
    body = asking(version, title="Kim Secret", summary="Kim Secret")
    world.ok("researcher", "POST", "/v1/requests", body, Idempotency_Key="k")
    with world.db.read() as session:
        row = session.scalars(select(IdempotentAnswer)).one()
        assert "Secret" not in str(vars(row))
        assert len(row.body_digest) == 64
        assert row.status == 201


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_call_does_not_wait_for_ever_for_the_first_one(world: World, monkeypatch: pytest.MonkeyPatch):
    """On SQLite writers queue before they begin, so a second call cannot come this far."""
    monkeypatch.setattr(answers, "WAIT_MILLISECONDS", 100)
    once = Once("client:platform", "k", "POST /v1/institutions", "d")
    with world.db.unit_of_work() as session:
        assert earlier(session, once, world.now()) is None
        with pytest.raises(Problem) as refused, world.db.unit_of_work() as second:
            earlier(second, once, world.now())
        assert (refused.value.code, refused.value.headers["Retry-After"]) == ("idempotency_in_progress", "1")
        keep(session, once, 201, {"id": "x"})
    with world.db.unit_of_work() as session:
        assert earlier(session, once, world.now()) == {"id": "x"}


@ON_BOTH
def test_an_answer_is_kept_with_what_it_tells_of_or_not_at_all(world: World):
    once = Once("a", "k", "r", "d")

    def dies() -> None:
        with world.db.unit_of_work() as session:
            assert earlier(session, once, world.now()) is None
            keep(session, once, 201, {"id": "x"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        dies()
    with world.db.unit_of_work() as session:
        assert earlier(session, once, world.now()) is None


def test_the_description_is_true_of_refusals(world: World):
    document = world.client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path != "/v1/progress":
                content = operation["responses"]["422"]["content"]
                assert list(content) == ["application/problem+json"], (path, method)
    assert "ProblemBody" in document["components"]["schemas"]


def test_old_answers_can_be_forgotten(world: World):
    world.ok("platform", "POST", "/v1/institutions", {"name": "A"}, Idempotency_Key="k")
    world.now.pass_days(2)
    with world.db.unit_of_work() as session:
        assert forget(session, world.now()) == 1
        assert forget(session, world.now()) == 0
