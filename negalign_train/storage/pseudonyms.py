"""Pseudonyms for ids that name people: the same in one workspace, and nobody's elsewhere.

A keyed digest, so that nobody can find the patient by trying all numbers. Machines that share a
database need the same key: copy the file.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from negalign_train.vocabulary.errors import NegalignError

KEY_FILE = "pseudonyms.key"
_KEY_BYTES = 32
_DIGITS = 16


def pseudonyms(key: bytes) -> Callable[[str, str], str]:
    """``pseudonym(kind, id)``: a word such as ``patient-3f2a...`` that only ``key`` leads to."""

    def pseudonym(kind: str, name: str) -> str:
        digest = hmac.new(key, f"{kind}\x00{name}".encode(), hashlib.sha256)
        return f"{kind}-{digest.hexdigest()[:_DIGITS]}"

    return pseudonym


def workspace_pseudonyms(workspace: Path, *, create: bool) -> Callable[[str, str], str]:
    """``pseudonyms`` with the key of a workspace, which is looked up when the first id comes."""
    key = cache(partial(workspace_key, workspace, create=create))
    return lambda kind, name: pseudonyms(key())(kind, name)


def workspace_key(workspace: Path, *, create: bool) -> bytes:
    """The key of a workspace, made once and readable by its owner only. Without ``create`` a
    missing key is a random one that nothing keeps.

    Raises:
        NegalignError: the key cannot be read or written, or is damaged.
    """
    path = workspace / KEY_FILE
    try:
        if not path.exists():
            key = secrets.token_bytes(_KEY_BYTES)
            if not create:
                return key
            workspace.mkdir(parents=True, exist_ok=True)
            _write_new(path, key)
        text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except FileExistsError:
        return workspace_key(workspace, create=create)  # another process was first
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise NegalignError(
            f"{path}: the key of the pseudonyms cannot be used ({reason}); restore it from a "
            "backup. With a new key the same patients would get other pseudonyms"
        ) from error
    if len(key) != _KEY_BYTES:
        raise NegalignError(f"{path}: the key of the pseudonyms is damaged; restore it")
    return key


def _write_new(path: Path, key: bytes) -> None:
    """Whole or not at all, and never over another process's key."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(key.hex() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
