"""The SQL of clients, accounts, codes, refresh tokens and used tokens; what must happen once is one statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.models import (
    Account,
    AuthorizationCode,
    Client,
    Freeze,
    Institution,
    RefreshToken,
    SigningKey,
    UsedToken,
)
from app.questions import Question

_FIRST_START_LOCK = 0x6261656B  # an arbitrary number, ours alone


@dataclass(frozen=True, slots=True)
class TakenCode:
    """What a code stood for; it has left the table."""

    code_hash: str
    client_id: str
    account_id: str
    redirect_uri: str
    scope: str
    code_challenge: str
    nonce: str | None
    expires_at: datetime


def lock_first_start(session: Session) -> None:
    """Let one process at a time look whether this is the first start (SQLite: the writer lock does that already)."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _FIRST_START_LOCK})


def count_platform_clients(session: Session) -> int:
    """How many active clients can administer the platform by themselves."""
    query = select(func.count()).select_from(Client).where(Client.role == "platform", Client.active)
    return session.scalars(query).one()


def count_signing_keys(session: Session) -> int:
    """How many keys may sign."""
    query = select(func.count()).select_from(SigningKey).where(SigningKey.retired_at.is_(None))
    return session.scalars(query).one()


def institution_exists(session: Session, institution_id: str) -> bool:
    """Whether there is such an institution, and it takes part still."""
    row = session.get(Institution, institution_id)
    return row is not None and row.closed_at is None


def account_by_name(session: Session, username: str) -> Account | None:
    """The account of a user name, active or not."""
    return session.scalar(select(Account).where(Account.username == username))


def client_or_account(
    session: Session, table: type[Client] | type[Account], row_id: str
) -> Client | Account | None:
    """The row of that id. The id may come from anyone: what PostgreSQL could not even compare is not looked up."""
    if not row_id.isprintable():
        return None
    return session.get(Client, row_id) if table is Client else session.get(Account, row_id)


def page(session: Session, table: type[Client] | type[Account], after: str, limit: int) -> list[Any]:
    """Up to `limit` rows whose id comes after `after`, by id (ids sort by age)."""
    return list(session.scalars(select(table).where(table.id > after).order_by(table.id).limit(limit)))


def take_code(session: Session, code_hash: str) -> TakenCode | None:
    """The code, taken by one DELETE ... RETURNING: of two redemptions at the same time one gets it, ever."""
    columns = [getattr(AuthorizationCode, name) for name in TakenCode.__dataclass_fields__]
    row = session.execute(
        delete(AuthorizationCode).where(AuthorizationCode.code_hash == code_hash).returning(*columns)
    ).one_or_none()
    return None if row is None else TakenCode(*row)


def use_refresh_token(session: Session, token_hash: str, at: datetime) -> bool:
    """Mark the token used; False where it was used already: of two uses at the same time one is told True, ever."""
    row = session.execute(
        update(RefreshToken)
        .where(RefreshToken.token_hash == token_hash, RefreshToken.used_at.is_(None))
        .values(used_at=at)
        .returning(RefreshToken.token_hash)
    ).one_or_none()
    return row is not None


def remember(session: Session, kind: str, jti: str, until: datetime) -> bool:
    """Note that `jti` may not be used (again) as `kind` until then; False where that was noted before."""
    try:
        with session.begin_nested():
            session.execute(insert(UsedToken).values(jti=jti, kind=kind, expires_at=until))
    except IntegrityError:
        return False
    return True


_REMEMBERED = select(UsedToken.kind, UsedToken.jti).where(
    UsedToken.jti.in_(bindparam("names", expanding=True))
)


def any_remembered(session: Session, pairs: Iterable[tuple[str, str]]) -> bool:
    """Whether any of these (kind, jti) was noted."""
    wanted = set(pairs)
    rows = session.execute(_REMEMBERED, {"names": sorted({jti for _, jti in wanted})})
    return any((kind, jti) in wanted for kind, jti in rows)


@dataclass(frozen=True, slots=True)
class Asker:
    """A client or an account, as far as it says whether a token of it counts."""

    subject: str
    role: str
    institution_id: str | None
    active: bool
    valid_from: date | None
    valid_until: date | None


@dataclass(frozen=True, slots=True)
class Asking:
    """All that decides whether a token counts now, read in one row. `barred`: it was taken back, or its client or
    account is frozen."""

    client: Asker
    account: Asker | None
    scopes: frozenset[str]
    tokens_from: datetime | None
    barred: bool


def _columns(table: type[Client] | type[Account]) -> list[Any]:
    return [table.id, table.role, table.institution_id, table.active, table.valid_from, table.valid_until]


def _frozen(kind: str, name: str) -> ColumnElement[bool]:
    return and_(Freeze.kind == kind, Freeze.subject == bindparam(name))


def _noted(name: str) -> ColumnElement[bool]:
    return and_(UsedToken.kind == bindparam(f"{name}_kind"), UsedToken.jti == bindparam(name))


_ASKING = Question(
    select(
        Client.scopes,
        Client.tokens_from,
        or_(
            exists().where(or_(_noted("token"), _noted("family"))),
            exists().where(
                Freeze.lifted_at.is_(None), or_(_frozen("client", "client"), _frozen("account", "account"))
            ),
        ),
        *_columns(Client),
        *_columns(Account),
    )
    .outerjoin(Account, Account.id == bindparam("account"))
    .where(Client.id == bindparam("client"))
)


def asking(
    connection: Connection,
    client_id: str,
    account_id: str | None,
    token: tuple[str, str],
    family: tuple[str, str],
) -> Asking | None:
    """The client and, where a person asks through it, the account; None where there is no such client. `token`,
    `family`: (kind, jti), either of which takes the token back."""
    row = _ASKING.first(
        connection, client=client_id, account=account_id, token_kind=token[0], token=token[1],
        family_kind=family[0], family=family[1],
    )  # fmt: skip
    if row is None:
        return None
    client, account = row[3:9], row[9:]
    return Asking(
        _asker("client", client),
        None if account[0] is None else _asker("account", account),
        frozenset(row[0]),
        row[1],
        bool(row[2]),
    )


def _asker(kind: str, columns: Sequence[Any]) -> Asker:
    return Asker(f"{kind}:{columns[0]}", *columns[1:])


def sweep(session: Session, at: datetime) -> int:
    """Delete what has expired and can no longer matter; the number of rows."""
    removed = 0
    for table in (UsedToken, AuthorizationCode, RefreshToken):
        gone = delete(table).where(table.expires_at < at).returning(table.expires_at)
        removed += len(session.execute(gone).all())
    return removed
