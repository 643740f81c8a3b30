"""TFRecord files of another library are read, and damage is reported."""

import gzip

import pytest
from tfrecord.writer import TFRecordWriter

from fast_style.data.shards.tfrecord import field_of, records_in


def write(path, *pictures, field="image/encoded"):
    writer = TFRecordWriter(str(path))
    for number, picture in enumerate(pictures):
        writer.write({field: (picture, "byte"), "image/height": (number, "int"), "image/format": (b"JPEG", "byte")})
    writer.close()
    return path


def pictures_of(*paths, **options):
    return [r.data and field_of(r.data, "image/encoded") for r in records_in([str(path) for path in paths], **options)]


@pytest.fixture
def pictures():
    return [b"first", b"", bytes(range(256)) * 300, b"last"]


def test_images_come_file_after_file(tmp_path, pictures):
    files = write(tmp_path / "a", *pictures), write(tmp_path / "empty"), write(tmp_path / "b", *pictures[:2])
    assert pictures_of(*files) == pictures + pictures[:2]
    named = [(record.file, record.number) for record in records_in([str(file) for file in files])]
    assert named[3:5] == [(str(tmp_path / "a"), 3), (str(tmp_path / "b"), 0)]


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 6])
def test_the_first_records_can_be_skipped(tmp_path, pictures, start):
    files = write(tmp_path / "a", *pictures), write(tmp_path / "b", *pictures[:2])
    assert pictures_of(*files, start=start) == (pictures + pictures[:2])[start:]


def test_a_gzipped_file_is_read_like_a_plain_one(tmp_path, pictures):
    plain = write(tmp_path / "a", *pictures)
    (tmp_path / "a.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert pictures_of(tmp_path / "a.gz") == pictures_of(tmp_path / "a.gz", start=0) == pictures
    assert pictures_of(tmp_path / "a.gz", start=2) == pictures[2:]


def test_a_length_that_looks_like_gzip_is_read_as_plain(tmp_path):
    for size in range(35_500, 35_616):  # 0x8b1f, minus the bytes around the image.
        path = write(tmp_path / "a", bytes(size))
        if path.read_bytes()[:2] == b"\x1f\x8b":
            break
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert pictures_of(path) == [bytes(size)]


def test_a_damaged_record_is_none_and_the_next_one_is_read(tmp_path, pictures):
    path = write(tmp_path / "a", *pictures)
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    assert pictures_of(path) == [None, *pictures[1:]]


@pytest.mark.parametrize("start", [0, 10])
@pytest.mark.parametrize(("kept", "record"), [(-1, 3), (-3, 3), (-5, 3), (7, 0), (60, 0)])
def test_a_truncated_file_is_reported_with_the_record(tmp_path, pictures, kept, record, start):
    path = write(tmp_path / "a", *pictures)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=f"a ends within record {record}; copy it again") as caught:
        pictures_of(path, start=start)
    assert "\n" not in str(caught.value)


def test_a_truncated_gzipped_file_is_reported(tmp_path, pictures):
    packed = gzip.compress(write(tmp_path / "a", *pictures).read_bytes())
    (tmp_path / "a.gz").write_bytes(packed[:-20])
    with pytest.raises(ValueError, match="ends within record"):
        pictures_of(tmp_path / "a.gz")


@pytest.mark.parametrize("content", [b"not a record at all", b"\xff" * 40, b"\x1f\x8b" + b"x" * 40])
def test_another_kind_of_file_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match="is not a TFRecord file, or is damaged at record 0"):
        pictures_of(tmp_path / "a")


def test_a_missing_field_is_reported_with_the_existing_fields(tmp_path):
    path = write(tmp_path / "a", b"picture", field="jpeg")
    (record,) = records_in([str(path)])
    assert field_of(record.data, "jpeg") == b"picture"
    with pytest.raises(ValueError, match="field image/encoded; its bytes fields: image/format, jpeg"):
        field_of(record.data, "image/encoded")
    with pytest.raises(ValueError, match="field image/height"):
        field_of(record.data, "image/height")
    with pytest.raises(ValueError, match=r"not a tf\.train\.Example"):
        field_of(b"\xff\xff\xff", "jpeg")
