"""Chunks of zarr arrays as .ppyr files: importing this module makes the codec known to zarr and to numcodecs.

    zarr.create_array(..., serializer=PyramidSerializer(effort="max"), compressors=None)       zarr format 3
    zarr.create_array(..., zarr_format=2, compressors=PyramidCompressor())                     zarr format 2

A chunk is an image (H, W) or (H, W, C), C from 1 to 4, uint8 or uint16, with any number of axes of length 1 before it.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from pixelpyramids.codec.image import EFFORTS, decode, encode
from pixelpyramids.errors import DataError, PixelPyramidsError

try:
    import numcodecs
    from numcodecs.abc import Codec
    from numcodecs.compat import ndarray_copy
    from zarr.abc.codec import ArrayBytesCodec
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.registry import register_codec
except ModuleNotFoundError as error:
    missing = str(error.name).partition(".")[0]
    raise PixelPyramidsError(f'{missing} is not installed; this needs: pip install "pixelpyramids[zarr]"') from error

NAME = "pixelpyramids"
_THREADS = 1  # a chunk: zarr works on several at once


@dataclass(frozen=True)
class PyramidSerializer(ArrayBytesCodec):
    """Of zarr's format 3: chunks to .ppyr files and back. `effort` as of `pixelpyramids.encode`."""

    effort: str = "default"
    is_fixed_size = False

    def __post_init__(self) -> None:
        _check_effort(self.effort)

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """The codec that an array's metadata describe."""
        return cls(**data.get("configuration", {}))

    def to_dict(self) -> Any:
        """As an array's metadata describe it."""
        return {"name": NAME, "configuration": {"effort": self.effort}}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known before a chunk is encoded."""
        raise NotImplementedError

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raise DataError where an array is not of a type that the codec takes, or its chunks are no images."""
        native = dtype.to_native_dtype()
        _check_type(native)
        if (chunk := getattr(chunk_grid, "chunk_shape", None)) is not None:
            image_shape(chunk)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        data = await asyncio.to_thread(_encoded, chunk_data.as_numpy_array(), self.effort)
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        array = await asyncio.to_thread(_decoded, chunk_data.to_bytes(), chunk_spec.shape)
        native = chunk_spec.dtype.to_native_dtype()
        return chunk_spec.prototype.nd_buffer.from_numpy_array(array.astype(native, copy=False))


class PyramidCompressor(Codec):  # type: ignore[misc]
    """Of numcodecs, and zarr's format 2: images to .ppyr files and back. `effort` as of `pixelpyramids.encode`."""

    codec_id = NAME

    def __init__(self, effort: str = "default") -> None:
        _check_effort(effort)
        self.effort = effort

    def encode(self, buf: Any) -> bytes:
        """The bytes of a .ppyr file that holds the array. Raises DataError where its numbers are big-endian.

        What is decoded is told by its bytes alone, which are little-endian.
        """
        array = np.asarray(buf)
        if array.dtype != array.dtype.newbyteorder("<"):
            raise DataError(f"expected little-endian numbers, got {array.dtype}; choose <u2, or zarr's format 3")
        return _encoded(array, self.effort)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The array of a .ppyr file, without the axes of length 1 that it may have had in front."""
        array = decode(bytes(buf), threads=_THREADS)
        return ndarray_copy(array.astype(array.dtype.newbyteorder("<"), copy=False), out)


def image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (H, W) or (H, W, C) of a chunk's image. Raises DataError where the chunk is none."""
    image = tuple(shape)
    while len(image) > 2 and image[0] == 1 and (len(image) > 3 or image[-1] > 4):
        image = image[1:]
    if len(image) not in (2, 3) or (len(image) == 3 and not 1 <= image[2] <= 4):
        raise DataError(
            "expected chunks (H, W) or (H, W, C), C from 1 to 4, with axes of length 1 at most before them, got "
            f"{tuple(shape)}; choose other chunks"
        )
    return image


def _encoded(array: Any, effort: str) -> bytes:
    _check_type(array.dtype)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return encode(native.reshape(image_shape(array.shape)), effort=effort, threads=_THREADS)


def _decoded(data: bytes, shape: tuple[int, ...]) -> Any:
    array = decode(data, threads=_THREADS)
    if array.shape != image_shape(shape):
        raise DataError(f"expected a chunk of shape {image_shape(shape)}, got {array.shape}; the store is damaged")
    return array.reshape(shape)


def _check_type(dtype: Any) -> None:
    if dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise DataError(f"expected an array of uint8 or uint16, got {dtype}; choose another codec for it")


def _check_effort(effort: str) -> None:
    if effort not in EFFORTS:
        raise DataError(f"expected an effort of {', '.join(EFFORTS)}, got {effort!r}")


numcodecs.register_codec(PyramidCompressor)
register_codec(NAME, PyramidSerializer)
