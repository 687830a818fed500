"""Errors as OpenAI's API reports them."""

from __future__ import annotations

from typing import Any

from its.engines.protocol import RefusedError
from its.errors import DataError, ItsError, MissingError
from its.secrets import redacted
from its.shown import LONGEST, bounded, shown

RETRY_SECONDS = 5
"""Retry-After of an error that passes."""


class ApiError(Exception):
    """An error with its HTTP status.

    Args:
        kind: OpenAI's `type`, such as `invalid_request_error`.
        param: the field of the request that is at fault.
        retry_seconds: when to try again; None if that would not help.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        retry_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.kind, self.param, self.retry_seconds = kind, param, retry_seconds

    def body(self) -> dict[str, Any]:
        """`{"error": {...}}`; the message is one line, without control characters and keys."""
        message = bounded(shown(redacted(self.message[: 2 * LONGEST])))
        return {"error": {"message": message, "type": self.kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        return {} if self.retry_seconds is None else {"Retry-After": str(self.retry_seconds)}


class EngineFailed(ItsError):
    """The engine died, did not start, or its responses could not be stored."""


def api_error(error: Exception) -> ApiError:
    """What a client receives for an error of a step."""
    if isinstance(error, ApiError):
        return error
    if not isinstance(error, ItsError):
        return ApiError(500, "internal_error", "the server failed; its log says how", kind="server_error")
    text = f"{error.message} ({error.hint})" if error.hint else error.message
    if isinstance(error, EngineFailed):
        return ApiError(503, "engine_failed", text, kind="server_error", retry_seconds=RETRY_SECONDS)
    if isinstance(error, RefusedError):
        return ApiError(400, "context_length_exceeded", text, param="messages")
    if isinstance(error, DataError):
        return ApiError(400, "invalid_problem", text, param="messages")
    if isinstance(error, MissingError):
        return ApiError(503, "not_available", text, kind="server_error")
    return ApiError(422, "no_response", text, param="messages")  # it would fail again: its seeds are fixed
