"""Clients and accounts: registered and switched off by the platform's administration."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from app.auth.policy import Actor, Scope
from app.auth.registration import AccountOrder, ClientOrder
from app.auth.service import AuthService
from app.routers.guards import auth_service, requires
from app.routers.problems import PROBLEMS
from app.routers.threads import InOneThread
from app.schemas.api_clients import (
    AccountPage,
    AccountView,
    ClientPage,
    ClientView,
    NewAccount,
    NewClient,
)

router = APIRouter(route_class=InOneThread, prefix="/v1", tags=["administration"], responses=PROBLEMS)

Auth = Annotated[AuthService, Depends(auth_service)]
Admin = Annotated[Actor, Depends(requires(Scope.PLATFORM_ADMIN))]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str, Query(pattern=r"^[a-z0-9_]{0,40}$")]


@router.post("/clients", status_code=201, response_model=ClientView, response_model_exclude_none=True)
def register_client(body: NewClient, auth: Auth, actor: Admin, response: Response) -> dict[str, Any]:
    """Register a client. Its secret is in this answer and nowhere else."""
    response.headers["Cache-Control"] = "no-store"
    return auth.register_client(actor, ClientOrder(**body.model_dump()))


@router.get("/clients", response_model=ClientPage, response_model_exclude_none=True)
def list_clients(auth: Auth, actor: Admin, limit: Limit = 50, cursor: Cursor = "") -> dict[str, Any]:
    """Clients, oldest first."""
    return _page(auth.administration.clients(actor, cursor, limit), limit)


@router.delete("/clients/{client_id}", status_code=204)
def deactivate_client(client_id: str, auth: Auth, actor: Admin) -> None:
    """Switch a client off; its tokens are refused at once. The record stays."""
    auth.administration.deactivate_client(actor, client_id)


@router.post("/accounts", status_code=201, response_model=AccountView, response_model_exclude_none=True)
def register_account(body: NewAccount, auth: Auth, actor: Admin, response: Response) -> dict[str, Any]:
    """Register a person. A password that was made here is in this answer and nowhere else."""
    response.headers["Cache-Control"] = "no-store"
    return auth.register_account(actor, AccountOrder(**body.model_dump()))


@router.get("/accounts", response_model=AccountPage, response_model_exclude_none=True)
def list_accounts(auth: Auth, actor: Admin, limit: Limit = 50, cursor: Cursor = "") -> dict[str, Any]:
    """Accounts, oldest first."""
    return _page(auth.administration.accounts(actor, cursor, limit), limit)


@router.delete("/accounts/{account_id}", status_code=204)
def deactivate_account(account_id: str, auth: Auth, actor: Admin) -> None:
    """Switch an account off; its tokens are refused at once. The record stays."""
    auth.administration.deactivate_account(actor, account_id)


def _page(items: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    return {"items": items, "next_cursor": items[-1]["id"] if len(items) == limit else None}
