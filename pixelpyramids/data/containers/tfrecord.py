"""Plain pixels in TFRecord files, as papers on GANs and flows distribute them, without TensorFlow.

    file = record, record, …      record = length (uint64), masked CRC-32C of it, payload, masked CRC-32C of the payload
    payload = protocol buffer tensorflow.Example: `shape` (three int64: C, H, W or H, W, C) and `data` (the pixels)
    masked(crc) = (rotated right by 15 bits) + 0xa282ead8, modulo 2**32; every number little endian

The library `tfrecord` provides the protocol buffer and the checksum. Its iterator only reads forwards and checks no
checksum, so the records are indexed here, by their lengths. The file is opened for each read, so that workers inherit
nothing open.
"""

import os
import struct
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.damage import explain_damage
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.bit_depth import Pixels
from pixelpyramids.image_files.file_source import check_regular

_FRONT, _BACK = 12, 4  # bytes of a record before its payload and after it
_COLOURS_AT_MOST = 4


class TfRecordEntries:
    """Images (H, W, C) uint8 of a TFRecord file.

    Opening checks the length of every record; reading an image checks its payload.

    Raises DataError if the file is damaged, compressed, empty, or not a TFRecord file. Raises PixelPyramidsError if the
    library is missing.
    """

    format = "TFRecord"

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        check_regular(self.path)
        self._offsets = _find_records(self.path)

    def __len__(self) -> int:
        return len(self._offsets)

    def name(self, index: int) -> Path:
        return self.path / f"{index:05d}"

    def read(self, index: int) -> Pixels:
        name = self.name(index)
        with explain_damage(name, "a record there"), open(self.path, "rb") as file:
            file.seek(int(self._offsets[index]))
            length = _parse_length(file.read(_FRONT))
            payload, checksum = file.read(length), file.read(_BACK)
        if checksum != _masked_checksum(payload):
            raise DataError(f"{name}: expected a whole record, got another checksum; get the file again")
        return _parse_image(payload, name)


def _find_records(path: Path) -> NDArray[np.int64]:
    """The offset of each record of a file."""
    offsets, at = [], 0
    with explain_damage(path, "an uncompressed TFRecord file"), open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        while at < size:
            file.seek(at)
            offsets.append(at)
            at += _FRONT + _parse_length(file.read(_FRONT)) + _BACK
    if at != size or not offsets:
        raise DataError(
            f"{path}: expected a TFRecord file with whole records, got {size} bytes, but its {len(offsets)} records "
            f"end at {at}; get the file again"
        )
    return np.array(offsets, dtype=np.int64)


def _parse_length(front: bytes) -> int:
    """The length of a record's payload. Raises ValueError if its checksum differs."""
    if len(front) != _FRONT or front[8:] != _masked_checksum(front[:8]):
        raise ValueError("another checksum of a record's length")
    return int(struct.unpack("<Q", front[:8])[0])


def _masked_checksum(content: bytes) -> bytes:
    checksum: bytes = import_extra("tfrecord", "data").TFRecordWriter.masked_crc(content)
    return checksum


def _parse_image(payload: bytes, name: Path) -> Pixels:
    example = import_extra("tfrecord", "data").example_pb2.Example()
    decode_error = import_extra("google.protobuf.message", "data").DecodeError
    with explain_damage(name, "a tensorflow.Example", "get the file again", decode_error):
        example.ParseFromString(payload)
    features: Any = example.features.feature
    # Asking for a missing feature would add it.
    shape: list[int] = list(features["shape"].int64_list.value) if "shape" in features else []
    data: list[bytes] = list(features["data"].bytes_list.value) if "data" in features else []
    if len(shape) != 3 or min(shape) < 1 or len(data) != 1 or len(data[0]) != shape[0] * shape[1] * shape[2]:
        raise DataError(
            f"{name}: expected the features `shape`, three integers, and `data`, as many bytes as they say, got "
            f"{', '.join(sorted(features)) or 'none'}, shape {shape}, {[len(value) for value in data]} bytes"
        )
    image = np.frombuffer(data[0], np.uint8).reshape(shape)
    return image.transpose(1, 2, 0) if shape[0] <= _COLOURS_AT_MOST < shape[2] else image
