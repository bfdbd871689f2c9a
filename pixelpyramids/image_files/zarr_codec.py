"""Store the chunks of zarr arrays as .ppyr files. Importing this module registers the codec with zarr and numcodecs.

    zarr.create_array(..., serializer=PyramidSerializer(effort="max"), compressors=None)       zarr format 3
    zarr.create_array(..., zarr_format=2, compressors=PyramidCompressor())                     zarr format 2

A chunk is an image (H, W) or (H, W, C), C from 1 to 64, uint8 or uint16, with any number of axes of length 1 before it.
A chunk (1, H, W) is an image (H, W) if W is above 4. A stored chunk whose shape or type is not the array's is refused.
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from pixelpyramids.codec.container import MAX_CHANNELS, describe_excess, read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.codec.image import MAX_PIXELS, check_effort, decode, encode
from pixelpyramids.errors import BitstreamError, DataError, PixelPyramidsError

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
_THREADS = 1  # for each chunk, because zarr works on several at once
_ORDER = "order"  # the metadata that record "F", the memory order of the encoded array


@dataclass(frozen=True)
class PyramidSerializer(ArrayBytesCodec):
    """Encodes chunks as .ppyr files for zarr's format 3. `effort` is that of `pixelpyramids.encode`."""

    effort: str = "default"
    is_fixed_size = False

    def __post_init__(self) -> None:
        check_effort(self.effort)

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Make the codec that an array's metadata describe."""
        return cls(**data.get("configuration", {}))

    def to_dict(self) -> Any:
        """The codec, as an array's metadata describe it."""
        return {"name": NAME, "configuration": {"effort": self.effort}}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not implemented: the size is not known before a chunk is encoded."""
        raise NotImplementedError

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raise DataError if the codec does not support the array's type, or if its chunks are not images."""
        _check_type(dtype.to_native_dtype())
        if (chunk := getattr(chunk_grid, "chunk_shape", None)) is not None:
            image_shape(chunk)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        data = await asyncio.to_thread(_encode_chunk, chunk_data.as_numpy_array(), self.effort)
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        native = chunk_spec.dtype.to_native_dtype()
        array = await asyncio.to_thread(_decode_chunk, chunk_data.to_bytes(), chunk_spec.shape, native)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(array)


class PyramidCompressor(Codec):  # type: ignore[misc]
    """Encodes images as .ppyr files for numcodecs and zarr's format 2. `effort` is that of `pixelpyramids.encode`."""

    codec_id = NAME

    def __init__(self, effort: str = "default") -> None:
        check_effort(effort)
        self.effort = effort

    def encode(self, buf: Any) -> bytes:
        """The bytes of a .ppyr file. Raises DataError if the array is not an image, or is big-endian.

        Format 2 views the decoded bytes, which are little-endian, as the array's type.
        """
        array = np.asanyarray(buf)
        if array.dtype != array.dtype.newbyteorder("<"):
            raise DataError(f"expected little-endian numbers, got {array.dtype}; choose <u2, or zarr's format 3")
        if excess := describe_excess(image_shape(array.shape), MAX_PIXELS):
            raise DataError(f"{excess} of a chunk; choose smaller chunks")
        return _encode_chunk(array, self.effort, {_ORDER: b"F"} if array.flags.fnc else {})

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The array of a .ppyr file, in the memory order that it was encoded in, without leading axes of length 1.

        Raises BitstreamError if the file is damaged. The array refuses to be viewed as another type and, once flattened
        in order "A", to be reshaped to another image.
        """
        is_fortran = read_index(MemorySource(buf), MAX_PIXELS).header.metadata.get(_ORDER) == b"F"
        array = decode(buf, threads=_THREADS)
        little = array.astype(array.dtype.newbyteorder("<"), order="F" if is_fortran else "C", copy=False)
        return ndarray_copy(little.view(_Chunk), out)


class _Chunk(np.ndarray[Any, Any]):
    """A decoded image that remembers its shape, because zarr's format 2 does not compare it with that of the chunk.

    It calls `view(dtype)`, `reshape(-1, order="A")` and `reshape(shape, order=…)`, and passes the codec no shape.
    """

    _image: tuple[int, ...] | None = None  # None for parts of an image, which are ordinary arrays
    _order: Literal["C", "F"]

    def __array_finalize__(self, source: Any) -> None:
        if not isinstance(source, _Chunk):
            self._image = self.shape
        elif self.shape == source.shape:
            self._image = source._image
        self._order = ("F" if self.flags.fnc else "C") if self.ndim > 1 else getattr(source, "_order", "C")

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """Results that are computed from the image are ordinary arrays."""
        return array[()] if return_scalar else np.asarray(array)

    def view(self, *what: Any, **named: Any) -> Any:
        """Like `ndarray.view`. Raises BitstreamError for another type of numbers."""
        is_dtype = bool(what) and not (isinstance(what[0], type) and issubclass(what[0], np.ndarray))
        if self._image and is_dtype and what[0] != self.dtype:
            raise _mismatch(what[0], self.dtype)
        return super().view(*what, **named)

    def reshape(self, *shape: Any, **named: Any) -> Any:
        """Like `ndarray.reshape`. Raises BitstreamError if the array is flat and the shape is not that of its image."""
        new = tuple(shape[0]) if shape and isinstance(shape[0], tuple | list) else shape
        if not self._image or self.ndim > 1 or new == (-1,):
            flat = super().reshape(*shape, **named)
            if new == (-1,) and named.get("order") == "A":
                flat._image, flat._order = self._image, self._order
            return flat
        if image_shape(new) != self._image:
            raise _mismatch(new, self._image)
        return np.asarray(self).reshape(self._image, order=self._order).reshape(new)


def image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (H, W) or (H, W, C) of a chunk's image. Raises DataError if the chunk is not an image."""
    image = tuple(shape)
    while len(image) > 2 and image[0] == 1 and (len(image) > 3 or image[-1] > 4):
        image = image[1:]
    if len(image) not in (2, 3) or (len(image) == 3 and not 1 <= image[2] <= MAX_CHANNELS):
        raise DataError(
            f"expected chunks (H, W) or (H, W, C), C from 1 to {MAX_CHANNELS}, with only axes of length 1 before "
            f"these, got {tuple(shape)}; choose other chunks"
        )
    return image


def _encode_chunk(array: Any, effort: str, metadata: Mapping[str, bytes] | None = None) -> bytes:
    _check_type(array.dtype)
    return encode(array.reshape(image_shape(array.shape)), effort=effort, metadata=metadata, threads=_THREADS)


def _decode_chunk(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    image = image_shape(shape)
    array = decode(data, max_pixels=math.prod(image), threads=_THREADS)
    if (array.shape, array.dtype) != (image, dtype.newbyteorder("=")):
        raise _mismatch(f"{dtype} of shape {image}", f"{array.dtype} of shape {array.shape}")
    return array.reshape(shape).astype(dtype, copy=False)


def _mismatch(expected: object, got: object) -> BitstreamError:
    return BitstreamError(f"expected a chunk of {expected}, got {got}; the store is damaged")


def _check_type(dtype: Any) -> None:
    if dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise DataError(f"expected an array of uint8 or uint16, got {dtype}; choose another codec for it")


numcodecs.register_codec(PyramidCompressor)
register_codec(NAME, PyramidSerializer)
