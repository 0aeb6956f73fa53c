"""A sample says of a picture what was found in it, and shows nothing that is to be hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from support.files import exif, jpeg_with
from support.pictures import jpeg, noise, png
from support.samples import outcome, scene, scene_file

from detector_grpc.capture.maker import Maker, Redaction
from detector_grpc.errors import ImageTooLarge
from detector_grpc.serving.pipeline import EncodedImage, RawImage
from detector_grpc.vision.fingerprint import is_near

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector_grpc.capture.sample import Sample
    from detector_grpc.serving.outcome import Outcome

BOX = np.array([[100, 60, 180, 140]], np.float32)
MAX_PIXELS = 10**6


def maker(*hidden: str) -> Maker:
    return Maker(MAX_PIXELS, Redaction(frozenset(hidden)))


def kept_of(about: Outcome, *hidden: str) -> Sample:
    assert about.result is not None
    return maker(*hidden).sample(about, ["uncertain"], {"flicker": 0.6}, 1e9)


def pixels(file: bytes) -> NDArray[np.uint8]:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_a_picture_file_is_kept_as_it_was_sent() -> None:
    for file, media_type in ((scene_file(1), "image/jpeg"), (png(scene(1)), "image/png")):
        about = outcome(file, 0.4, boxes=BOX, stream_id="hall", caller="cam", frame_id=3)
        kept = kept_of(about)

        assert kept.picture == file
        sidecar = kept.sidecar
        assert (sidecar.media_type, sidecar.width, sidecar.height) == (media_type, 320, 240)
        assert (sidecar.stream_id, sidecar.caller, sidecar.frame_id) == ("hall", "cam", 3)
        assert (sidecar.uncertainty.score, sidecar.uncertainty.driver) == (0.4, "margin")
        assert sidecar.uncertainty.measures == {"flicker": 0.6}
        assert sidecar.reasons == ("uncertain",)
        assert sidecar.captured_at.isoformat() == "2001-09-09T01:46:40+00:00"
        (box,) = sidecar.detections
        assert (box.class_name, box.confidence, box.bbox) == ("car", 0.6, (100, 60, 180, 140))


def test_raw_pixels_are_kept_without_loss() -> None:
    image = noise(40, 30)
    about = outcome(RawImage(image.tobytes(), 40, 30, "RGB24"), image_wh=(40, 30))

    kept = kept_of(about)

    assert kept.sidecar.media_type == "image/png"
    assert (pixels(kept.picture) == image).all()


def test_boxes_are_in_pixels_of_the_picture_that_was_sent_though_it_was_shrunk_before() -> None:
    about = outcome(scene_file(1), boxes=BOX * 4, image_wh=(1280, 960))

    sidecar = kept_of(about).sidecar

    assert sidecar.detections[0].bbox == (100, 60, 180, 140)
    assert (sidecar.width, sidecar.height) == (320, 240)


def test_boxes_of_hidden_classes_cannot_be_recognised_and_the_rest_is_as_it_was() -> None:
    image = np.repeat(noise(320, 240)[:, :, :1], 3, axis=2)
    about = outcome(png(image), boxes=BOX, class_id=1)

    kept = kept_of(about, "face")

    shown = pixels(kept.picture).astype(int)
    inside, outside = np.s_[60:140, 100:180], np.s_[160:240, :]
    assert kept.sidecar.redacted == ("face",)
    assert shown[inside].std() < 25 < image[inside].std()
    assert np.abs(shown[outside] - image[outside]).mean() < 5
    assert np.corrcoef(shown[inside].ravel(), image[inside].ravel())[0, 1] < 0.2


def test_boxes_of_other_classes_are_shown() -> None:
    about = outcome(scene_file(1), boxes=BOX, class_id=0)

    assert kept_of(about, "face").picture == scene_file(1)


def test_classes_that_the_model_does_not_know_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    of, about = maker("face", "fase"), outcome(scene_file(1))
    assert about.result is not None
    for _ in range(2):
        of.sample(about, (), {}, 1e9)

    assert [record.classes for record in caplog.records] == [["fase"]]  # type: ignore[attr-defined]


def test_a_picture_that_lies_on_its_side_is_hidden_in_where_it_is_seen() -> None:
    upright = noise(240, 320)
    lying = jpeg_with(jpeg(np.ascontiguousarray(np.rot90(upright, 1))), b"Exif\0\0" + exif(6))
    about = outcome(EncodedImage(lying), boxes=BOX, class_id=1, image_wh=(240, 320))

    kept = kept_of(about, "face")

    shown = pixels(kept.picture)
    assert shown.shape == (320, 240, 3)
    assert shown[60:140, 100:180].std() < 25
    assert shown[200:300, :].std() > 40


def test_fingerprints_are_of_the_scene_whatever_the_file() -> None:
    of = maker().fingerprint
    one = of(EncodedImage(scene_file(1)))

    assert is_near(one, [of(EncodedImage(png(scene(1))))])
    assert is_near(one, [of(RawImage(scene(1).tobytes(), 320, 240, "RGB24"))])
    assert not is_near(one, [of(EncodedImage(scene_file(2)))])


def test_limits_hold_here_too() -> None:
    about = outcome(png(np.zeros((1001, 1000, 3), np.uint8)))

    with pytest.raises(ImageTooLarge):
        kept_of(about)
