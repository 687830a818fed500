"""The store of responses: one SQLite file, shared by many processes; its key covers all that determines a response."""

from its.store.database import PutItem, SessionInfo, Store
from its.store.keys import canonical, response_key, session_sha256, vllm_identity, without_secrets
from its.store.schema import SCHEMA_VERSION

__all__ = [
    "SCHEMA_VERSION",
    "PutItem",
    "SessionInfo",
    "Store",
    "canonical",
    "response_key",
    "session_sha256",
    "vllm_identity",
    "without_secrets",
]
