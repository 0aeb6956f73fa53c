"""Where files come from: one that can be opened at any byte, so that what was cut off can go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class PullFailed(Exception):
    """Expected. A file cannot be had; the message says why, and what to do."""


class TryAgain(PullFailed):
    """Expected. It may be had later: what failed is the network, or a server that has too much to do.

    Attributes:
        after_s: Least seconds to wait, where the server says so.
    """

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class Body(Protocol):
    """Bytes as they come."""

    def read(self, most: int, /) -> bytes:
        """Some of them, at most so many; none at the end.

        Raises:
            TryAgain: They have stopped to come.
        """


class Part(NamedTuple):
    """A file from some byte on.

    Attributes:
        start: Number of the first byte that comes, from 0.
        size_bytes: Size of the whole file; None where nobody says.
        tag: What changes whenever the file does; empty where nobody says.
        body: What comes.
    """

    start: int
    size_bytes: int | None
    tag: str
    body: Body


class Source(Protocol):
    """A file somewhere.

    Attributes:
        name: For people and logs: its address, without what may be a secret.
        is_authentic: Whether nobody on the way can have changed what comes.
    """

    name: str
    is_authentic: bool

    def open(self, start: int, tag: str) -> AbstractContextManager[Part]:
        """Opens it at a byte, if it is still what it was when it had this tag; else at its beginning.

        Args:
            start: Number of the byte.
            tag: What the file had; empty where that is not known, and whoever asks will see by himself.

        Raises:
            TryAgain: It may be had later.
            PullFailed: It cannot be had.
        """
