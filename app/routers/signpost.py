"""Which router a path belongs to, by its first words: routers whose paths all begin otherwise are not asked.

FastAPI asks every router in turn, and each asks every route of its own: of nearly two hundred, a seventh of what
reading one object costs. What is found here is what FastAPI would find, and whatever is not plain is left to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from fastapi import APIRouter
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

_WORDS = 2  # of a path: /v1/versions
Head = tuple[str | None, ...]
"""None: what may be anything."""


class Signpost:
    """In front of a router that has all its routes."""

    def __init__(self, router: APIRouter) -> None:
        self._router = router
        heads = [(route, set(_heads(route))) for route in router.routes]
        plain = {head for _, found in heads for head in found if len(head) == _WORDS and None not in head}
        self._places: dict[str, list[BaseRoute]] = {
            "/" + "/".join(map(str, words)): [
                route for route, found in heads if any(_could_be(head, words) for head in found)
            ]
            for words in plain
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the first router that has exactly its route, else to FastAPI's own search."""
        if scope["type"] == "http" and not scope.get("root_path"):
            begins = "/".join(scope["path"].split("/", _WORDS + 1)[: _WORDS + 1])
            for route in self._places.get(begins, ()):
                match, told = route.matches(scope)
                if match is Match.FULL:
                    if told:  # no router, which tells the rest when it is handed the request
                        break
                    scope.setdefault("router", self._router)
                    await route.handle(scope, receive, send)
                    return
        await self._router.app(scope, receive, send)


def _heads(route: BaseRoute) -> Iterator[Head]:
    """The first words of every path of a route or router."""
    for context in iter_route_contexts([route]):
        words = (context.path_format or context.path or "").split("/")[1:]
        plain = list(takewhile(lambda word: "{" not in word, words))
        # A parameter may hold slashes, so nothing is known of what follows it.
        yield tuple([*plain, None] if len(plain) < len(words) else plain)[:_WORDS]


def _could_be(head: Head, words: Head) -> bool:
    """Whether a path that begins with `words` could be one with this head."""
    return all(known in (None, word) for known, word in zip(head, words, strict=False))
