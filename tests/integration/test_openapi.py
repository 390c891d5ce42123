"""The description of the whole service is true: whatever is sent, by whomever, the answer is one that it names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from tests.acceptance.second_cohort.cohort import second_cohort
from tests.acceptance.service import Service, opened
from tests.amounts import first, tries

# Terms, dictionaries, plans and tus headers obey rules that no JSON Schema can say. The wrong token is a test of ours.
LEFT_OUT = ("ignored_auth", "positive_data_acceptance")
ASKERS = ("platform", "hospital", "steward", "researcher", None)
OAUTH = ("/oauth/", "/.well-known/")
Answered = dict[str | None, Counter[int]]  # who asked -> how often each status was the answer
EXAMPLES = (1, tries(2, 6))  # of each operation, each sent by everybody


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with opened(tmp_path_factory.mktemp("openapi")) as made:
        made.register_cohort(second_cohort().dictionary, [{"term": "GRU"}])
        yield made


def operations(service: Service) -> list[Any]:
    import schemathesis  # here: `make test` asks for none of it and would wait for its imports
    from schemathesis.core.result import Ok

    schema = schemathesis.openapi.from_asgi("/openapi.json", service.app)
    return [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]


@pytest.mark.again
@pytest.mark.parametrize("examples", first(1, EXAMPLES))
def test_every_answer_is_one_that_the_description_names(service: Service, examples: int) -> None:
    found = operations(service)
    assert len(found) > 60
    told: list[str] = []
    answered: Answered = {who: Counter() for who in ASKERS}
    for operation in found:
        told += _tried(service, operation, answered, examples)
    assert "\n".join(told) == ""
    # The cases reach further than the door: some succeed, and 401 is for those without a token (and at /oauth).
    for who, statuses in answered.items():
        assert sum(statuses.values()) >= len(found), who
        assert statuses[200] > 5, who
        assert (2 * statuses[401] > sum(statuses.values())) == (who is None), who


def test_the_description_is_of_this_service(service: Service) -> None:
    document = service.ok(None, "GET", "/openapi.json")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert ("POST", "/v1/extracts") in described
    assert ("GET", "/v1/audit/verify") in described
    open_to_all = {
        path
        for path, methods in document["paths"].items()
        if any("security" not in operation for operation in methods.values())
    }
    assert {path for path in open_to_all if path.startswith("/v1/")} == {"/v1/progress"}


def _brief(failure: BaseException) -> str:
    return f"{type(failure).__name__} {' '.join(str(failure).split())[:300]}"


def _tried(service: Service, operation: Any, answered: Answered, examples: int) -> list[str]:
    """What was wrong with the answers to a few cases of an operation, whoever sent them."""
    from schemathesis.checks import CHECKS
    from schemathesis.core.failures import FailureGroup

    wrong: list[str] = []

    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def answers(case: Any) -> None:
        drawn = {k: v for k, v in (case.headers or {}).items() if k.lower() != "authorization"}
        for who, statuses in answered.items():
            token = {} if who is None else {"Authorization": f"Bearer {service.tokens[who]}"}
            case.headers = {**drawn, **token}
            answer = case.call()
            statuses[answer.status_code] += 1
            kind = str(answer.headers.get("content-type", [""])[0])
            refused = answer.status_code >= 400 and operation.method.upper() != "HEAD"
            if refused and not operation.path.startswith(OAUTH) and kind != "application/problem+json":
                wrong.append(f"{case.method} {operation.path}: {answer.status_code} is {kind}")
            case.validate_response(answer, excluded_checks=[CHECKS.get_one(name) for name in LEFT_OUT])

    try:
        answers()
    except FailureGroup as group:  # every operation is tried, then all that is wrong is told
        wrong += [f"{operation.method} {operation.path}: {_brief(one)}" for one in group.exceptions]
    return wrong
