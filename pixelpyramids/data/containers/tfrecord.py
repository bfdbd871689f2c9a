"""Plain pixels in TFRecord files as the papers on GANs and flows distribute them, without TensorFlow.

    file = record, record, …      record = length (uint64), masked CRC-32C of it, payload, masked CRC-32C of the payload
    payload = protocol buffer tensorflow.Example: `shape` (three int64: C, H, W or H, W, C) and `data` (the pixels)
    masked(crc) = (rotated right by 15 bits) + 0xa282ead8, modulo 2**32; every number little endian

`tfrecord`, a small library, knows the protocol buffer and the masked checksum. Its iterator reads forwards only, checks
no checksum, and its index is a file that it writes beside the data; so the frames are indexed here, from the lengths,
and read in any order. Files are opened for each read: nothing is open that a worker could inherit.
"""

import os
import struct
from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixelpyramids.data.images import Names
from pixelpyramids.errors import DataError
from pixelpyramids.extras import import_extra
from pixelpyramids.image_files.bit_depth import Pixels

_FRONT, _BACK = 12, 4  # bytes of a frame in front of its payload and behind it
_COLOURS_AT_MOST = 4


class TfRecordEntries:
    """Images (H, W, C) uint8 of TFRecord files, in the files' order; names are a file's path and the record's number.

    Opening reads the length of every record and checks its checksum; reading checks the payload's.

    Raises DataError where a file is damaged, compressed, no TFRecord file, or empty; PixelPyramidsError where the
    library is missing.
    """

    format = "TFRecord"

    def __init__(self, files: Sequence[str | PathLike[str]]) -> None:
        self.files = [Path(file) for file in files]
        offsets = [_offsets(file) for file in self.files]
        # Record i lies in the first file whose last record is beyond it.
        self._ends = np.cumsum([len(found) for found in offsets], dtype=np.int64)
        self._offsets = np.concatenate(offsets) if offsets else np.empty(0, np.int64)
        self.names: Sequence[Path] = Names(len(self._offsets), partial(_name, self.files, self._ends))

    def read(self, index: int) -> Pixels:
        """Image `index`, (H, W, C) uint8. Raises DataError where it is damaged or no such image."""
        name = self.names[index]
        try:
            with open(name.parent, "rb") as file:
                file.seek(int(self._offsets[index]))
                length = _length(file.read(_FRONT))
                payload, checksum = file.read(length), file.read(_BACK)
        except (OSError, ValueError) as error:
            raise DataError(f"{name}: expected a record there, got {error}; get the file again") from error
        if checksum != _masked_checksum(payload):
            raise DataError(f"{name}: expected a whole record, got one whose checksum is another; get the file again")
        return _image(payload, name)


def _offsets(path: Path) -> NDArray[np.int64]:
    """Where each record of a file starts."""
    offsets, at = [], 0
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            while at < size:
                file.seek(at)
                offsets.append(at)
                at += _FRONT + _length(file.read(_FRONT)) + _BACK
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: expected an uncompressed TFRecord file, got {error} at byte {at}; get the file again, "
            "uncompressed"
        ) from error
    if at != size or not offsets:
        raise DataError(
            f"{path}: expected a TFRecord file with whole records, got {size} bytes, where those of its "
            f"{len(offsets)} records end at {at}; get the file again"
        )
    return np.array(offsets, dtype=np.int64)


def _length(front: bytes) -> int:
    """Of the payload. Raises ValueError where its checksum is another."""
    if len(front) != _FRONT or front[8:] != _masked_checksum(front[:8]):
        raise ValueError("no length of a record with its checksum")
    return int(struct.unpack("<Q", front[:8])[0])


def _masked_checksum(content: bytes) -> bytes:
    checksum: bytes = import_extra("tfrecord", "data").TFRecordWriter.masked_crc(content)
    return checksum


def _image(payload: bytes, name: Path) -> Pixels:
    example = import_extra("tfrecord", "data").example_pb2.Example()
    try:
        example.ParseFromString(payload)
    except import_extra("google.protobuf.message", "data").DecodeError as error:
        raise DataError(f"{name}: expected a tensorflow.Example, got a record that is none ({error})") from error
    features: Any = example.features.feature
    # Asking for a feature that is missing would add it.
    shape: list[int] = list(features["shape"].int64_list.value) if "shape" in features else []
    data: list[bytes] = list(features["data"].bytes_list.value) if "data" in features else []
    if len(shape) != 3 or min(shape) < 1 or len(data) != 1 or len(data[0]) != shape[0] * shape[1] * shape[2]:
        raise DataError(
            f"{name}: expected the features `shape`, three integers, and `data`, as many bytes as they say, got "
            f"{', '.join(sorted(features)) or 'none'}, shape {shape}, {[len(value) for value in data]} bytes"
        )
    image = np.frombuffer(data[0], np.uint8).reshape(shape)
    return image.transpose(1, 2, 0) if shape[0] <= _COLOURS_AT_MOST < shape[2] else image


def _name(files: list[Path], ends: NDArray[np.int64], index: int) -> Path:
    file = int(np.searchsorted(ends, index, side="right"))
    first = int(ends[file - 1]) if file else 0
    return files[file] / f"{index - first:05d}"
