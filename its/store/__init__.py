"""Every response that any engine ever gave, by what determines it: one SQLite file that many processes share."""

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
