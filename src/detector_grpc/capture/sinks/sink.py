"""What every sink can do: keep objects by key, and say in words what is wrong when it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from detector_grpc.capture.sample import SIDECAR_MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector_grpc.capture.sample import Sample, Sidecar

README_KEY = "README.md"
_README = b"""\
# Samples

Pictures that a detector was unsure of, for people to label: <date>/<model>/<version>/<digest>.jpg, or another suffix,
and beside each a .json with all that is known of it: when and from whom it came, what the model saw and how unsure it
was, and the labels of people once there are some. Dates are UTC. A picture without a .json is still on its way.
`detector-grpc samples` lists, shows, exports and erases them.
"""


class SinkError(Exception):
    """A sink did not do what it was asked to.

    Attributes:
        fault: What is wrong, in a word for metrics.
        advice: What is wrong, and what to do about it, in a sentence for the operator.
    """

    def __init__(self, fault: str, advice: str) -> None:
        super().__init__(advice)
        self.fault = fault
        self.advice = advice


class ObjectMissing(SinkError):
    """An object is not in the sink, or no longer."""

    def __init__(self, place: str, key: str) -> None:
        super().__init__("missing", f"{place}: {key} is not there")


class Sink(Protocol):
    """Keeps objects. Every method but `name` raises SinkError, and blocks for as long as that takes.

    Attributes:
        name: The same for two sinks if and only if they are the same place; for the name of a folder.
        place: Where it is, for people.
    """

    name: str
    place: str

    def put(self, key: str, data: bytes, media_type: str, *, replace: bool = False) -> bool:
        """Keeps an object, durably, unless one of this key is there or is to be replaced; whether it did."""

    def has(self, key: str) -> bool:
        """Whether an object is there, as far as that may be known."""

    def get(self, key: str) -> bytes:
        """The object of a key. Raises ObjectMissing, too."""

    def walk(self, prefix: str = "") -> Iterator[str]:
        """Keys of all objects that begin with this, in their order."""

    def delete(self, key: str) -> None:
        """Erases an object, if it is there."""


def put_sample(sink: Sink, sample: Sample) -> bool:
    """Brings a sample; False if it was there already, and stays as it is there, with its labels."""
    keys, sidecar = sample.sidecar.keys, sample.sidecar
    sink.put(keys.picture, sample.picture, sidecar.media_type)
    if sink.has(keys.sidecar):  # stores that replace what is there would take the labels away
        return False
    return sink.put(keys.sidecar, sidecar.to_json(indent=2), SIDECAR_MEDIA_TYPE)


def delete_sample(sink: Sink, sidecar: Sidecar) -> None:
    """Erases a sample; the sidecar last, so that what is left of an attempt that failed is found by the next one."""
    sink.delete(sidecar.keys.picture)
    sink.delete(sidecar.keys.sidecar)


def put_readme(sink: Sink) -> None:
    """Says to whoever looks into the sink what is there."""
    sink.put(README_KEY, _README, "text/markdown")
