"""What pydantic finds wrong with somebody's file, in words for that somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_WORDS = {
    "extra_forbidden": "there is no such key",
    "missing": "is required",
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}


def faults(error: ValidationError) -> list[str]:
    """A sentence for each fault: its place, keys and numbers of items joined by dots, and what is wrong there."""
    return [
        f"{'.'.join(map(str, each['loc'])) or 'the file'}: {_WORDS.get(each['type']) or each['msg'].lower()}"
        for each in error.errors()
    ]
