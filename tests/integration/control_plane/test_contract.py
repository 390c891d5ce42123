"""The description is true also for a token that may try everything; `test_openapi.py` asks as those who may less."""

from typing import Any

import hypothesis
import pytest

from app.auth.policy import Actor, Scope
from tests.integration.control_plane.world import World, asking

# Terms, dictionaries and plans obey rules that no JSON Schema can say, and the token stands for the issuer here.
LEFT_OUT = ("ignored_auth", "positive_data_acceptance")


@pytest.fixture
def furnished(world: World) -> World:
    """Something published and something asked for; a token that may try everything."""
    _dataset, version = world.published()
    world.ok("researcher", "POST", "/v1/requests", asking(version))
    home = world.people["holder"].institution_id
    world.people["anything"] = Actor("client:any", "any", "institution", home, frozenset(map(str, Scope)))
    return world


@pytest.mark.long
def test_every_answer_is_one_that_the_description_names(furnished: World):
    import schemathesis  # here: `make test` asks for none of it and would wait for its imports
    from schemathesis.core.result import Ok

    schema = schemathesis.openapi.from_asgi("/openapi.json", furnished.app)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) > 40
    for operation in operations:
        _try(operation)


def _try(operation: Any) -> None:
    from schemathesis.checks import CHECKS

    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=6,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def answers(case: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": "Bearer anything"}
        case.call_and_validate(excluded_checks=[CHECKS.get_one(name) for name in LEFT_OUT])

    answers()
