"""How the messages of a stream are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from detector_grpc._gen.detector.v1.image_pb2 import Image, ImageSize
from detector_grpc._gen.detector.v1.stream_pb2 import Frame, StreamConfig, StreamDetectRequest, StreamUpdate
from detector_grpc.errors import InvalidRequest
from detector_grpc.rpc.stream_messages import parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 100
LARGE = Image(encoded=bytes(LIMIT))


async def parsed(data: bytes) -> StreamDetectRequest:
    async def received() -> AsyncIterator[bytes]:
        yield data

    ((message, size_bytes),) = [each async for each in parse(received(), LIMIT)]
    assert size_bytes == len(data)
    return message


@given(
    st.integers(0, 2**64 - 1),
    st.none() | st.builds(Timestamp, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(0, 2**31 - 1)),
    st.none() | st.builds(ImageSize, width=st.integers(0, 9000)),
)
async def test_of_a_frame_that_is_too_large_its_answer_says_the_same(
    frame_id: int, capture_time: Timestamp | None, source_size: ImageSize | None
) -> None:
    frame = Frame(frame_id=frame_id, capture_time=capture_time, image=LARGE, source_size=source_size)
    message = await parsed(StreamDetectRequest(frame=frame).SerializeToString())
    assert message.frame.frame_id == frame_id
    assert message.frame.HasField("capture_time") == (capture_time is not None)
    assert message.frame.capture_time == frame.capture_time


@pytest.mark.parametrize("capture_time", [None, Timestamp(), Timestamp(seconds=1_700_000_000, nanos=5)])
async def test_the_picture_of_a_frame_that_is_too_large_is_not_parsed(capture_time: Timestamp | None) -> None:
    frame = Frame(frame_id=300, capture_time=capture_time, image=LARGE)
    message = await parsed(StreamDetectRequest(frame=frame).SerializeToString())
    assert not message.frame.HasField("image")


async def test_fields_may_come_in_any_order() -> None:
    body = Frame(image=LARGE).SerializeToString() + Frame(frame_id=300).SerializeToString()
    message = await parsed(b"\x12" + bytes([0x80 | len(body) & 0x7F, len(body) >> 7]) + body)
    assert message.frame.frame_id == 300


async def test_a_frame_of_allowed_size_is_as_it_came() -> None:
    sent = StreamDetectRequest(frame=Frame(frame_id=1, image=Image(encoded=bytes(LIMIT - 8))))
    assert sent.ByteSize() == LIMIT
    assert await parsed(sent.SerializeToString()) == sent


@pytest.mark.parametrize(
    "sent",
    [
        StreamDetectRequest(config=StreamConfig(model="m" * LIMIT)),
        StreamDetectRequest(update=StreamUpdate()),
        StreamDetectRequest(),
    ],
)
async def test_other_messages_are_as_they_came(sent: StreamDetectRequest) -> None:
    assert await parsed(sent.SerializeToString()) == sent


@pytest.mark.parametrize("data", [b"\x12", b"\xff" * 5, b"\x12\x05\x08"])
async def test_bytes_that_are_no_message_are_named_as_such(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=f"^the {len(data)} bytes are no message of this method$"):
        await parsed(data)
