"""The unusual files of Pillow's own test suite load, or give one clear sentence."""

import pytest
from PIL import features
from shared_files import SHARED

from fast_style.images.decode import UnreadablePicture
from fast_style.images.tensors import read_picture

ODD = SHARED / "odd_images"


# ---- the unusual files of Pillow's own test suite


def odd_files():
    """(file, whether it loads), from the recorded outcomes of Pillow."""
    if not ODD.is_dir():
        return [("none", False)]
    lines = (ODD / "PILLOW_OUTCOMES.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    # If reading the EXIF of a PNG raised, the pixels are broken: Pillow decodes the pixels to reach the EXIF. A second
    # attempt finds nothing left to decode, so Pillow reports success.
    return [(row[0], "load-ok" in row and "exif-err" not in " ".join(row)) for row in rows]


@pytest.mark.shared
@pytest.mark.skipif(not ODD.is_dir(), reason="no odd_images under FAST_STYLE_SHARED")
@pytest.mark.parametrize(("name", "loads"), odd_files())
def test_odd_files_load_or_are_explained(name, loads):
    if name.endswith((".avif", ".heif")) and not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    if loads:
        picture = read_picture(ODD / name)
        assert picture.pixels.isfinite().all()
        assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1
        return
    with pytest.raises(UnreadablePicture) as caught:
        read_picture(ODD / name)
    assert str(ODD / name) in str(caught.value)
    assert "\n" not in str(caught.value)
