"""Read TFRecord files and verify their checksums. Only this file knows the format.

The format, from "TFRecords format details" in the TensorFlow guide: length (8 bytes), its checksum (4), data, its
checksum (4). The `tfrecord` package (1.14.6) is not used: it ignores both checksums of a record, and allocates memory
for any length that a damaged file claims.
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
    """One record of a file, numbered from 0; `data` is None if its checksum differs."""

    file: str
    number: int
    data: bytes | None


_File = IO[bytes] | gzip.GzipFile


def records_in(files: Sequence[str], *, start: int = 0) -> Iterator[Record]:
    """The records of plain or gzipped files, file after file, without the first `start` records.

    Raises:
        ValueError: a file that ends within a record, or is too damaged to continue.
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
                    raise ValueError(f"{path} ends within record {number}; copy it again.") from error
                except (ValueError, OSError, zlib.error) as error:
                    sentence = f"{path} is not a TFRecord file, or is damaged at record {number}; copy it again."
                    raise ValueError(sentence) from error
                passed += 1
                if passed > start:
                    yield Record(path, number, data)


def field_of(record: bytes, field: str) -> bytes:
    """The single value of a bytes field of a `tf.train.Example`; a ValueError lists the fields that exist."""
    from google.protobuf.message import DecodeError

    try:
        fields = {entry.key: entry.value.bytes_list.value for entry in _example().FromString(record).features.feature}
    except DecodeError as error:
        raise ValueError("it is not a tf.train.Example") from error
    values = fields.get(field, ())
    if len(values) != 1:
        known = ", ".join(sorted(name for name, found in fields.items() if len(found) == 1))
        raise ValueError(f"it has no image in a field {field}; its bytes fields: {known or 'none'}")
    return bytes(values[0])


def _is_gzipped(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(12)
    # The length of a plain record may start with gzip's two bytes, but then its checksum matches.
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
    """The record's data, or None if its checksum differs or it is not wanted."""
    data = file.read(length) if wanted else None
    if data is None:
        file.seek(length, os.SEEK_CUR)
    # Read in either case, because seeking beyond the end raises no error.
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
    """The message class of `tf.train.Example`, reduced to its bytes fields.

    It has a pool of its own, because a second registration of the same message would conflict with TensorFlow's.
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
