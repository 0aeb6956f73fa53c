"""Answers that are asked for by anybody and cost something."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

AnswerT = TypeVar("AnswerT")


class Shared(Generic[AnswerT]):
    """One answer for all who ask while it is being found, so that a crowd costs no more than one.

    Args:
        find: Finds the answer.
    """

    def __init__(self, find: Callable[[], Coroutine[None, None, AnswerT]]) -> None:
        self._find = find
        self._finding: asyncio.Task[AnswerT] | None = None

    async def __call__(self) -> AnswerT:
        """The answer; one who leaves does not take it from the others."""
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(self._find())
        return await asyncio.shield(self._finding)
