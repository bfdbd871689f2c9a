"""Files with right checksums and hostile contents: refused, in little time and memory, and by BitstreamError alone."""

import struct
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hostile_files import (
    AXIS,
    CONSTANT,
    GREY,
    METADATA,
    MODEL,
    PNG,
    STORED,
    UNKNOWN,
    VALUES,
    WEBP,
    WIDE,
    File,
    assert_only_refused,
    blobs,
    packed,
    refused,
    smooth,
    varint,
)
from hypothesis import given
from hypothesis import strategies as st

import pixelpyramids as pp
from pixelpyramids.codec import bundled
from pixelpyramids.codec.container import MAX_BLOBS, MAX_METADATA, read_index
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.codec.image import decode_source
from pixelpyramids.codec.parts import list_parts, part_count
from pixelpyramids.errors import BitstreamError, DataError


@pytest.fixture(scope="module")
def colour():
    return File.of(pp.encode(smooth(), effort="fast"))


@pytest.fixture(scope="module")
def tiled():
    return File.of(pp.encode(smooth(70, 24), effort="fast"))


@pytest.fixture(scope="module")
def deep():
    return File.of(pp.encode(smooth(20, 9, 4, 12), depth=12, effort="fast"))


def test_the_writer_of_this_file_writes_what_ours_does(colour, deep):
    assert colour.written() == pp.encode(smooth(), effort="fast")
    assert deep.written() == pp.encode(smooth(20, 9, 4, 12), depth=12, effort="fast")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"magic": b"\x89PNG"}, "expected a .ppyr file"),
        ({"version": 1}, "expected a file of version 0, got 1; install"),
        ({"flags": AXIS | UNKNOWN}, "contradicts itself"),
        ({"flags": AXIS | WEBP | PNG}, "contradicts itself"),
        ({"flags": 0}, "contradicts itself"),
        ({"flags": AXIS | WEBP | GREY}, "contradicts itself"),
        ({"flags": AXIS | PNG | VALUES}, "contradicts itself"),
        ({"flags": GREY, "channels": 1}, "contradicts itself"),
        ({"flags": AXIS | GREY, "channels": 2}, "contradicts itself"),
        ({"depth": 0}, "contradicts itself"),
        ({"depth": 9}, "contradicts itself"),
        ({"depth": 17, "flags": AXIS | WIDE}, "contradicts itself"),
        ({"depth": 255}, "contradicts itself"),
        ({"channels": 0}, "contradicts itself"),
        ({"channels": 5}, "contradicts itself"),
        ({"height": 0}, "contradicts itself"),
        ({"width": 0}, "contradicts itself"),
        ({"height": 2**30 + 1}, "out of range"),
        ({"height": 2**30, "width": 2**30}, "more than the limit"),
        ({"size": b"\x94\x00" + varint(9)}, "shortest form"),
        ({"size": b"\x94\x80\x80\x00" + varint(9)}, "shortest form"),
        ({"size": b"\x80" * 30}, "out of range|contradicts|shortest"),
        ({"size": b"\xff" * 4000}, "out of range"),
        ({"model": bytes(8)}, "needs the model 0000000000000000, which this version of pixelpyramids"),
        ({"model": b"\1" * 3}, "."),
        ({"index": b"", "parts": ()}, "cut short"),
        ({"index": varint(3) + bytes(4)}, "unknown kind"),
        ({"index": varint(2**40 + 1) + bytes(4)}, "out of range"),
        ({"index": varint(2**40 - 4) + bytes(4)}, "the file is cut short"),
        ({"behind": b"\0"}, "1 bytes follow"),
    ],
    ids=str,
)
def test_wrong_fields_are_refused(colour, changes, match):
    refused(replace(colour, **changes), match)


@pytest.mark.parametrize("depth", [4, 8, 12])
def test_lists_of_values_that_cannot_be_are_refused(depth):
    size = max(1 << depth, 8) // 8
    flags = VALUES | (WIDE if depth > 8 else 0)
    of = File(4, 2, flags, depth, parts=((CONSTANT, bytes(2)),))
    lists = {"none": bytes(size), "short": b"\1" * (size - 1), "long": b"\1" * (size + 1)}
    for what in lists.values():
        refused(replace(of, fields=packed(what)), "lists impossible values|out of range")
    refused(replace(of, fields=packed(b"\1" * size, unpacked=size - 1)), "wrong length")
    refused(replace(of, fields=packed(b"\1" * size, length=3)), "packed bytes|wrong length")
    refused(replace(of, fields=packed(b"\1" * size, length=10**6)), "cut short|out of range")
    refused(replace(of, fields=varint(20) + varint(size) + b"\xff" * 20), "cannot be unpacked")
    found = pp.decode(replace(of, fields=packed(b"\2" + bytes(size - 1))).written())
    assert (found == 1).all() and found.dtype == (np.uint16 if depth > 8 else np.uint8)


def test_values_above_a_small_depth_and_numbers_that_are_not_listed_are_refused():
    refused(File(4, 2, VALUES, 2, fields=packed(b"\x10"), parts=((CONSTANT, bytes(2)),)), "impossible values")
    three = File(4, 2, VALUES, 8, fields=packed(b"\x07" + bytes(31)), parts=((CONSTANT, b"\2\0"),))
    assert (pp.decode(three.written()) == 2).all()
    refused(three.with_part(0, CONSTANT, b"\3\0"), "does not list")
    refused(three.with_part(0, CONSTANT, b"\4\0"), "above the image's depth")
    refused(three.with_part(0, STORED, b"\xff\xff"), "does not list")


def test_gains_beyond_the_depth_are_refused(deep):
    assert deep.fields
    for place in range(len(deep.fields)):
        for gain in (5, 255):
            wrong = bytearray(deep.fields)
            wrong[place] = gain
            refused(replace(deep, fields=bytes(wrong)), "contradicts itself")


def test_gains_within_it_are_only_other_contents(deep):
    for gain in range(5):
        at = replace(deep, fields=bytes([gain]) * len(deep.fields))
        assert_only_refused(at.written())


def with_metadata(data, **told):
    return File(1, 1, METADATA, fields=packed(data, **told), parts=((CONSTANT, bytes(2)),)).written()


def test_metadata_that_unpack_to_more_than_the_limit_are_refused_at_once():
    bomb = bytes(2**26)
    tracemalloc.start()
    for told in ({}, {"unpacked": MAX_METADATA}, {"unpacked": 5}):
        refused(with_metadata(bomb, **told), "out of range|wrong length")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2.5 * MAX_METADATA


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (bytes(MAX_METADATA), "twice, or too many"),
        (blobs([(b"ICC", b"a"), (b"ICC", b"b")]), "twice, or too many"),
        (blobs([(b"%d" % i, b"") for i in range(MAX_BLOBS + 1)]), "twice, or too many"),
        (b"\x03IC", "cut short"),
        (b"\x03ICC\x05abc", "cut short"),
        (b"\xff\xff\x03", "out of range"),
        (b"\x80\x00", "shortest form"),
    ],
    ids=["zeros", "twice", "many", "name", "data", "long", "varint"],
)
def test_metadata_that_cannot_be_are_refused_at_once(data, match):
    began = time.monotonic()
    refused(with_metadata(data), match)
    assert time.monotonic() < began + 2


def test_what_no_reader_takes_is_not_written():
    image = smooth()
    for metadata, match in [
        ({"ICC": bytes(MAX_METADATA)}, "in total, got 1 of 16777"),
        ({str(number): b"" for number in range(MAX_BLOBS + 1)}, "got 4097"),
        ({"a" * 256: b""}, "Latin-1"),
        ({"text:日": b""}, "Latin-1"),
    ]:
        with pytest.raises(DataError, match=match):
            pp.encode(image, metadata=metadata)
    most = {str(number): b"" for number in range(MAX_BLOBS)}
    assert read_index(MemorySource(pp.encode(image, metadata=most)), 2**28).header.metadata == most


@pytest.mark.parametrize("height", [1, 3, 2**8, 2**14])
@pytest.mark.parametrize("channels", [1, 4])
def test_a_large_image_in_a_short_file_costs_nothing(height, channels):
    of = File(height, 2**28 // height, AXIS, channels=channels, parts=((CONSTANT, bytes(6)),))
    data = of.written()
    bundled.model_names()
    tracemalloc.start()
    began = time.monotonic()
    refused(data, "expected an index of .* parts")
    assert time.monotonic() < began + 0.5
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_parts_are_counted_without_making_them(height, width):
    assert part_count(height, width) == len(list_parts(height, width))


def test_no_more_is_asked_of_a_source_than_it_has(colour):
    class Careful(MemorySource):
        def read(self, offset, count):
            assert count <= max(4096, self.size) and offset <= self.size
            return super().read(offset, count)

    for length in (2**38 - 1, 2**20, len(colour.parts[0][1]) + 1):
        data = replace(colour, index=varint(length << 2) + bytes(4)).written()
        for salvage in (False, True):
            with pytest.raises(BitstreamError, match="cut short"):
                decode_source(Careful(data), salvage=salvage)


def test_a_stored_tile_of_many_bits_takes_no_more_memory_than_its_digits():
    side = 300
    image = np.random.default_rng(0).integers(0, 2**16, (side, side, 3), dtype=np.uint16)
    data = pp.encode(image, effort="fast")
    assert any(kind == STORED for kind, _ in File.of(data).parts)
    tracemalloc.start()
    assert np.array_equal(pp.decode(data, threads=1), image)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 25 * image.nbytes


def test_random_parts_are_refused(tiled, deep):
    rng = np.random.default_rng(0)
    for of in (tiled, deep):
        for number in range(len(of.parts)):
            for kind in (MODEL, CONSTANT, STORED):
                for length in (0, 1, 2, 5, 6, 7, len(of.parts[number][1])):
                    data = of.with_part(number, kind, rng.bytes(length)).written()
                    assert_only_refused(data, salvage=length % 2 == 0)


def test_parts_in_another_order_or_of_another_kind_are_refused(tiled):
    (_, base), (_, tile) = tiled.parts[:2]
    refused(tiled.with_part(0, MODEL, tile).with_part(1, MODEL, base), "part")
    for number in range(len(tiled.parts)):
        refused(tiled.with_part(number, CONSTANT, tiled.parts[number][1]), "expected a part of 6 bytes")
        refused(tiled.with_part(number, STORED, tiled.parts[number][1]), "expected a part of")
    assert pp.decode(tiled.with_part(len(tiled.parts) - 1, MODEL, base).written(), salvage=True).shape[0] == 35


@pytest.mark.parametrize("depth", [1, 7, 9, 12, 15])
def test_constant_parts_above_the_depth_are_refused(depth):
    of = File(2, 2, WIDE, depth, parts=((CONSTANT, struct.pack("<H", 2**depth - 1)),))
    assert (pp.decode(of.written()) == 2**depth - 1).all()
    for value in (2**depth, 2**15, 2**16 - 1):
        refused(of.with_part(0, CONSTANT, struct.pack("<H", value)), "above the image's depth")


def test_stored_parts_end_in_zeros():
    of = File(1, 3, depth=3, parts=((STORED, b"\xff\x80"),))
    assert (pp.decode(of.written()) == 7).all()
    for wrong in (b"\xff\x81", b"\xff\xff", b"\0\x40"):
        refused(of.with_part(0, STORED, wrong), "bits that are not zero")
    for length in (0, 1, 3):
        refused(of.with_part(0, STORED, bytes(length)), f"expected a part of 2 bytes, got {length}")
