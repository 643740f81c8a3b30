"""Reading TFRecord files, checksums included; the only file that knows their format.

The `tfrecord` package was looked at (1.14.6): it passes over both checksums of a record, and makes room for whatever
length a damaged file claims. "TFRecords format details" of the TensorFlow guide: length (8 bytes), its checksum (4),
data, its checksum (4).
"""

import gzip
import itertools
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import IO, Any, NamedTuple


class Record(NamedTuple):
    """One record of a file, counted from 0; `data` is None where its checksum differs."""

    file: str
    number: int
    data: bytes | None


_File = IO[bytes] | gzip.GzipFile


def records_in(files: Sequence[str], *, start: int = 0) -> Iterator[Record]:
    """The records of files, plain or gzipped, file after file, without the first `start` of them.

    Raises:
        ValueError: a file that ends within a record, or is damaged beyond following it.
        OSError: no such file.
    """
    passed = 0
    for path in files:
        with gzip.open(path) if _is_gzipped(path) else open(path, "rb") as file:
            for number in itertools.count():
                try:
                    length = _length_at(file)
                    if length is None:
                        break
                    data = _data_at(file, length, wanted=passed >= start)
                except EOFError as error:
                    raise ValueError(f"{path} ends within record {number}; fetch it again.") from error
                except (ValueError, OSError, zlib.error) as error:
                    sentence = f"{path} is no TFRecord file, or damaged at record {number}; fetch it again."
                    raise ValueError(sentence) from error
                passed += 1
                if passed > start:
                    yield Record(path, number, data)


def field_of(record: bytes, field: str) -> bytes:
    """The one value of a bytes field of a `tf.train.Example`; ValueError with the fields that there are."""
    from google.protobuf.message import DecodeError

    try:
        fields = {entry.key: entry.value.bytes_list.value for entry in _example().FromString(record).features.feature}
    except DecodeError as error:
        raise ValueError("it is no tf.train.Example") from error
    values = fields.get(field, ())
    if len(values) != 1:
        known = ", ".join(sorted(name for name, found in fields.items() if len(found) == 1))
        raise ValueError(f"it has no picture in a field {field}; its fields of bytes: {known or 'none'}")
    return bytes(values[0])


def _is_gzipped(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(12)
    # A length may begin as gzip does; that its checksum fits as well is hardly chance.
    return head[:2] == b"\x1f\x8b" and (len(head) < 12 or _checksum(head[:8]) != head[8:])


def _length_at(file: _File) -> int | None:
    head = file.read(12)
    if not head:
        return None
    if len(head) < 12:
        raise EOFError
    if _checksum(head[:8]) != head[8:]:
        raise ValueError
    length: int = struct.unpack("<Q", head[:8])[0]
    return length


def _data_at(file: _File, length: int, *, wanted: bool) -> bytes | None:
    """The record, or None where its checksum differs or it isn't wanted."""
    data = file.read(length) if wanted else None
    if data is None:
        file.seek(length, os.SEEK_CUR)
    # Read in either case, since seeking beyond the end says nothing.
    expected = file.read(4)
    if len(expected) < 4:
        raise EOFError
    return data if data is not None and _checksum(data) == expected else None


def _checksum(data: bytes) -> bytes:
    """Masked CRC-32C."""
    import google_crc32c

    plain = google_crc32c.value(data)
    return struct.pack("<I", ((plain >> 15 | plain << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@cache
def _example() -> Any:
    """The message class of `tf.train.Example`, as far as it holds bytes.

    Made here and known to nobody else: TensorFlow's own, once registered, would not suffer a second one beside it.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="examples", syntax="proto3")
    single, many = (getattr(descriptor_pb2.FieldDescriptorProto, f"LABEL_{kind}") for kind in ("OPTIONAL", "REPEATED"))
    for message, name, number, label, kind in (
        ("Example", "features", 1, single, "Features"),
        ("Features", "feature", 1, many, "Entry"),
        ("Entry", "key", 1, single, "string"),
        ("Entry", "value", 2, single, "Feature"),
        ("Feature", "bytes_list", 1, single, "BytesList"),
        ("BytesList", "value", 1, many, "bytes"),
    ):
        declared = next((m for m in file.message_type if m.name == message), None) or file.message_type.add(
            name=message
        )
        field = declared.field.add(name=name, number=number, label=label)
        if kind in ("string", "bytes"):
            field.type = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}")
        else:
            field.type, field.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, f".examples.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("examples.Example"))
