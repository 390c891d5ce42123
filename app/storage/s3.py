"""Objects behind the S3 protocol: `s3://bucket/prefix`, at Amazon or at any server that keeps its conditions.

A name is written on condition that it is free (`If-None-Match: *`), large objects by a multipart copy that ends on
that condition; a server that ignores it fails `Store.probe`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import S3Store

from app.storage.access import Access
from app.storage.store import Store

if TYPE_CHECKING:  # types alone; the library has no such names when it runs
    from obstore.store import ClientConfig, RetryConfig, S3Config

# A server that is down is told within half a minute: the callers' jobs try again later and for longer.
RETRY: RetryConfig = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=25),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=4), "base": 2},
}

CLIENT: ClientConfig = {"connect_timeout": "5s", "timeout": "60s"}


def open_bucket(url: str, access: Access) -> Store:
    """The store behind `s3://bucket/prefix`; a ValueError where the URL is none. Nothing is asked of the server yet."""
    parts = urlsplit(url)
    if not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("an S3 store is s3://bucket or s3://bucket/prefix")
    client = CLIENT.copy()
    config: S3Config = {"region": access.region or "us-east-1", "copy_if_not_exists": "multipart"}
    if access.endpoint is not None:
        config["endpoint"] = access.endpoint
        config["virtual_hosted_style_request"] = False
        client["allow_http"] = urlsplit(access.endpoint).scheme == "http"
    if access.key_id is not None:
        config["access_key_id"] = access.key_id
        config["secret_access_key"] = access.secret or ""
    if access.encryption != "none":
        config["server_side_encryption"] = access.encryption
    if access.kms_key is not None:
        config["sse_kms_key_id"] = access.kms_key
    prefix = parts.path.strip("/") or None
    objects = S3Store(parts.netloc, prefix=prefix, config=config, client_options=client, retry_config=RETRY)
    return Store(objects)
