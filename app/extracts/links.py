"""Links to the parts of an extract, for clients that send no token: given to its holder, each use asked of the gate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.audit import project_stream, record
from app.auth import policy
from app.auth.links import Linked, LinkMint, moment
from app.auth.policy import Actor
from app.auth.service import invalid_token
from app.db import Database, retried
from app.errors import Problem, not_found
from app.extracts import queries
from app.extracts.service import Delivery, ExtractService
from app.ledger.parts import PartState, listed
from app.models import Extract


@dataclass(frozen=True)
class LinkService:
    """`give` and `open`. `place`: the public URL below which links are served, without a slash at its end."""

    extracts: ExtractService
    mint: LinkMint
    place: str

    @property
    def db(self) -> Database:
        """Where the extracts are."""
        return self.extracts.db

    @retried
    def give(
        self, actor: Actor, extract_id: str, names: list[str] | None = None, seconds: int | None = None
    ) -> dict[str, Any]:
        """A link for each part that is handed out (or for those named), and the moment when all of them end: after
        `seconds`, the setting's, or with the token, the permit or the extract, whatever is first.

        A part that is closed is told without one. Refused where no byte of the extract may leave now.
        """
        if actor.by is None:
            raise invalid_token()
        now = self.extracts.clock()
        with self.db.unit_of_work() as session:
            row = queries.extract(session, extract_id)
            policy.must_read_extract(actor, queries.facts(session, row.project_id))
            parts = _named(listed(session, extract_id, ("ready", "blocked")), names)
            ready = [part for part in parts if part["state"] == "ready"]
            if not ready and row.state != "ready":
                code = "extract_expired" if row.state in ("expired", "destroyed") else "conflict"
                raise Problem(code, f"The extract is {row.state}.")
            until = now + min(self.mint.life, timedelta(seconds=seconds or self.mint.life.total_seconds()))
            until = min(until, moment(actor.by.expires_at))
            if ready:
                state = self.extracts.flowing(session, actor, extract_id, ready[0]["name"], now)
                until = min(until, *_ends(state))
            files = [(extract_id, part["name"], part["generation"]) for part in ready]
            link_id, signed = self.mint.sign(session, actor, until.replace(microsecond=0), files)
            told = dict(zip((part["name"] for part in ready), signed, strict=True))
            _note(session, row, actor, link_id, until, len(ready), now)
            return {
                "id": link_id,
                "until": until.replace(microsecond=0),
                "files": [_shown(part, self._url(extract_id, part["name"], told)) for part in parts],
            }

    def open(self, linked: Linked, extract_id: str, name: str) -> Delivery:
        """The part of a link, where every byte of it may leave at this moment, as it may by its holder's token."""
        return self.extracts.open_part(linked.actor, extract_id, name, linked.link)

    def _url(self, extract_id: str, name: str, told: dict[str, str]) -> str | None:
        return f"{self.place}/v1/links/{extract_id}/{name}?{told[name]}" if name in told else None


def _named(parts: list[dict[str, Any]], names: list[str] | None) -> list[dict[str, Any]]:
    if names is None:
        return parts
    wanted = set(names)
    if wanted - {part["name"] for part in parts}:
        raise not_found("part")
    return [part for part in parts if part["name"] in wanted]


def _ends(state: PartState) -> list[datetime]:
    """When the last days of the permit and of the extract are over (UTC)."""
    return [_after(day) for day in (state.permit_until, state.expires_on) if day is not None]


def _after(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def _shown(part: dict[str, Any], url: str | None) -> dict[str, Any]:
    kept = ("table", "position", "name", "sha256", "rows", "bytes", "generation", "state")
    return {**{key: part[key] for key in kept}, "url": url}


def _note(
    session: Session, row: Extract, actor: Actor, link_id: str, until: datetime, parts: int, now: datetime
) -> None:
    data = {
        "link": link_id, "parts": parts, "client": actor.client_id, "until": until.isoformat(timespec="seconds"),
    }  # fmt: skip
    stream = project_stream(row.project_id)
    record(
        session,
        stream=stream,
        event="extract.linked",
        actor=actor.subject,
        object_id=row.id,
        at=now,
        data=data,
    )
