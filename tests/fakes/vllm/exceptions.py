"""The errors of the real package, by which it refuses a request; they are no ValueError."""

from __future__ import annotations


class VLLMClientError(Exception):
    pass


class VLLMValidationError(VLLMClientError):
    pass
