"""Files of archives as anybody could make them up."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

HEAD = b"unseen archive 01"


def sealed(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Bytes with a right checksum, of any members."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return HEAD + hashlib.sha256(body.getvalue()).digest() + body.getvalue()


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content[len(HEAD) + 32 :])) as file:
        return {name: file.read(name) for name in file.namelist()}


def description(**changes: Any) -> bytes:
    return json.dumps({"kind": "thing", "values": {}, "arrays": {}, "parts": {}, **changes}).encode()
