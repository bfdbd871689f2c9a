"""Chunks of zarr arrays as .ppyr files, in stores on disk, of zarr's format 2 and 3."""

import json
import subprocess
import sys

import numcodecs
import numpy as np
import pytest
import zarr

import pixelpyramids as pp
from pixelpyramids.errors import BitstreamError, DataError
from pixelpyramids.image_files.zarr_codec import PyramidCompressor, PyramidSerializer

RNG = np.random.default_rng(0)


def noise(shape, dtype=np.uint8):
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def create(path, shape, format=3, chunks=None, dtype="uint8", effort="fast", order="C", **options):
    """An array whose chunks are .ppyr files."""
    codec = {"compressors": PyramidCompressor(effort), "filters": None, "order": order}
    if format == 3:
        codec = {"serializer": PyramidSerializer(effort), "compressors": None, "config": {"order": order}}
    return zarr.create_array(
        path, shape=shape, chunks=chunks or shape, dtype=dtype, zarr_format=format, **(codec | options)
    )


def chunk_files(path):
    return [file for file in path.rglob("*") if file.is_file() and file.read_bytes().startswith(b"\x8fPPY")]


@pytest.mark.parametrize(
    ("shape", "chunks", "image"),
    [
        ((50, 70), (32, 32), (32, 32)),
        ((33, 40, 3), (16, 40, 3), (16, 40, 3)),
        ((20, 20, 4), (20, 20, 2), (20, 20, 2)),
        ((3, 20, 3), (1, 20, 3), (1, 20, 3)),
        ((2, 20, 30), (1, 20, 30), (20, 30)),
        ((2, 3, 20, 30), (1, 1, 20, 17), (20, 17)),
        ((2, 3, 20, 3), (1, 1, 20, 3), (1, 20, 3)),
        ((2, 20, 30, 3), (1, 20, 30, 3), (20, 30, 3)),
        ((20, 30, 64), (10, 30, 5), (10, 30, 5)),
        ((2, 20, 30, 64), (1, 20, 30, 64), (20, 30, 64)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2"])
@pytest.mark.parametrize("format", [2, 3])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_from_a_store(tmp_path, shape, chunks, image, dtype, format, order):
    array = noise(shape, np.dtype(dtype))
    made = create(tmp_path, shape, format, chunks, dtype, order=order)
    if format == 2 and dtype == ">u2":
        with pytest.raises(DataError, match="expected little-endian numbers, got >u2"):
            made[:] = array
        return
    made[:] = array
    again = zarr.open_array(tmp_path, mode="r")
    assert np.array_equal(again[:], array)
    assert np.array_equal(again[..., 3:9, 1:2], array[..., 3:9, 1:2])
    files = chunk_files(tmp_path)
    assert np.prod([-(-a // b) for a, b in zip(shape, chunks, strict=True)]) == len(files)
    assert {pp.decode(file.read_bytes()).shape for file in files} == {image}


def test_the_stored_metadata_name_the_codec_and_its_effort(tmp_path):
    for format in (2, 3):
        create(tmp_path / str(format), (8, 8), format, effort="max")
    codecs = json.loads((tmp_path / "3" / "zarr.json").read_text())["codecs"]
    assert codecs == [{"name": "pixelpyramids", "configuration": {"effort": "max"}}]
    compressor = json.loads((tmp_path / "2" / ".zarray").read_text())["compressor"]
    assert compressor == {"id": "pixelpyramids", "effort": "max"}
    assert numcodecs.get_codec(compressor) == PyramidCompressor("max")


@pytest.mark.parametrize("shape", [(5,), (2, 5, 65), (5, 6, 0), (2, 1, 5, 6), ()])
def test_chunks_that_are_not_images_are_refused(shape, tmp_path):
    message = r"expected chunks \(H, W\) or .*; choose other chunks"
    with pytest.raises(DataError, match=message):
        PyramidCompressor().encode(np.zeros(shape, np.uint8))
    if shape:
        with pytest.raises(DataError, match=message):
            create(tmp_path, shape)


def test_other_types_are_refused(tmp_path):
    for dtype in ("float32", "int16", "uint32"):
        with pytest.raises(DataError, match=f"uint8 or uint16, got {dtype}"):
            create(tmp_path / dtype, (8, 8), dtype=dtype)
        with pytest.raises(DataError, match=f"uint8 or uint16, got {dtype}"):
            PyramidCompressor().encode(np.zeros((2, 2), dtype))


@pytest.mark.parametrize("order", ["C", "F"])
def test_filters_before_the_compressor_keep_the_order(tmp_path, order):
    array = noise((20, 30))
    create(tmp_path, (20, 30), 2, order=order, filters=[numcodecs.AsType("<u2", "u1")])[:] = array
    assert np.array_equal(zarr.open_array(tmp_path)[:], array)


@pytest.mark.parametrize(
    "found",
    [
        noise((30, 20)), noise((600, 1)), noise((20, 30, 1)), noise((4, 4)),
        noise((10, 30), np.uint16), noise((20, 30), np.uint16),
    ],
    ids=lambda found: f"{found.dtype}-{found.shape}",
)  # fmt: skip
@pytest.mark.parametrize(("format", "order"), [(2, "C"), (2, "F"), (3, "C")])
def test_a_chunk_of_another_shape_or_type_is_refused(tmp_path, format, order, found):
    create(tmp_path, (20, 30), format, order=order)[:] = 3
    (chunk,) = chunk_files(tmp_path)
    for memory in (np.ascontiguousarray, np.asfortranarray):
        chunk.write_bytes(PyramidCompressor().encode(memory(found)))
        with pytest.raises(
            BitstreamError, match=r"expected a chunk of .* got .*; the store is damaged|more than the limit"
        ):
            zarr.open_array(tmp_path)[:]
    right = noise((20, 30))  # by another writer than zarr
    chunk.write_bytes(pp.encode(right))
    assert np.array_equal(zarr.open_array(tmp_path)[:], right)


def test_shards_and_transposed_chunks_come_back(tmp_path):
    array, transpose = noise((40, 60)), zarr.codecs.TransposeCodec(order=(1, 0))
    create(tmp_path, array.shape, chunks=(20, 30), shards=(40, 60), filters=[transpose])[:] = array
    assert np.array_equal(zarr.open_array(tmp_path)[:], array)


def test_what_numcodecs_decodes_behaves_like_an_array():
    for array in (noise((30, 20, 3)), np.asfortranarray(noise((30, 20))), noise((1, 1))):
        codec, out = numcodecs.get_codec({"id": "pixelpyramids", "effort": "fast"}), np.empty_like(array)
        data = codec.encode(array)
        found = codec.decode(data)
        codec.decode(data, out)
        for decoded in (pp.decode(data), found, out):
            assert np.array_equal(decoded, array)
        assert found.flags.fnc == array.flags.fnc
        with pytest.raises(BitstreamError):
            codec.decode(data[:-1])
        assert np.array_equal((found // 2).reshape(-1), (array // 2).reshape(-1))
        assert np.array_equal(found[1:].reshape(-1, 1), array[1:].reshape(-1, 1))
        for lines in (found.ravel(), found.reshape(-1), found.astype(float).ravel(), found[:].flatten()):
            assert np.array_equal(lines.reshape(-1, 1), array.reshape(-1, 1))
        assert np.array_equal(found.T.reshape(-1, order="A"), array.T.reshape(-1, order="A"))
        assert found[:0].view("i1").dtype == np.int8
        assert isinstance(found.mean(), np.float64) and type(found + 1) is np.ndarray
        assert np.array_equal(found.view(np.ndarray).view("i1"), array.view("i1"))


def test_a_chunk_too_large_to_be_read_is_not_written():
    with pytest.raises(DataError, match="choose smaller chunks"):
        PyramidCompressor().encode(np.broadcast_to(np.uint8(0), (2**14 + 1, 2**14)))


@pytest.mark.parametrize("package", ["numcodecs", "zarr"])
def test_without_the_extra_the_error_says_how_to_install_it(package):
    code = f"import sys; sys.modules[{package!r}] = None; import pixelpyramids.image_files.zarr_codec"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f'{package} is not installed; this needs: pip install "pixelpyramids[zarr]"' in found.stderr
