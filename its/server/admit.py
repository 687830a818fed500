"""Who may ask: with a key who has it, without one this machine alone."""

from __future__ import annotations

import hmac
import ipaddress

from starlette.requests import Request

from its.server.errors import ApiError


def admit(key: str | None, request: Request) -> None:
    """Refuse who has no key; without one, pages of other sites that a browser of this machine shows.

    Raises:
        ApiError: 401 or 403.
    """
    if key is None:
        # A site may let its own name stand for this machine, and a browser then sends that name.
        if not is_loopback(_host(request.headers.get("host", ""))):
            raise ApiError(403, "forbidden", "without a key the server answers to `localhost` and loopback addresses")
        return
    word, _, given = request.headers.get("authorization", "").partition(" ")
    if word.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), key.encode()):
        raise ApiError(401, "invalid_api_key", "the key is missing or wrong: `Authorization: Bearer KEY`")


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(header: str) -> str:
    """The host that a header names, without its port and without the brackets of an IPv6 address."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]
