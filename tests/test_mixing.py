"""Context mixing: lossless with any mask, worth it where images repeat themselves, and what floating point computes."""

import io
import math
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from core_samples import NETWORK, SITES, convert_ycbcr, draw_colours, slice_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ppyr_files import encode_mixed, interleave, pixels

import pixelpyramids as pp
from pixelpyramids.codec import mixing, trial, ycbcr
from pixelpyramids.codec.coder import Symbols
from pixelpyramids.codec.compact_model import octave_images
from pixelpyramids.codec.container import Kind, read_index
from pixelpyramids.codec.engine import Coding
from pixelpyramids.codec.fields import MemorySource
from pixelpyramids.codec.memory import FAR, YCBCR, initial_memory
from pixelpyramids.codec.native import NativeEngine
from pixelpyramids.codec.parts import list_parts
from pixelpyramids.codec.reference import ReferenceEngine
from pixelpyramids.codec.sites import follow_sites
from pixelpyramids.data.photographs import photographs

TOTAL = 2**24
ENGINE = ReferenceEngine(NETWORK)
EFFORTS = ("fast", "default", "max")


def index_of(data):
    return read_index(MemorySource(data), 2**28)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 80), st.integers(1, 80)),
    st.sampled_from([None, 1, 2, 3, 4]),
    st.integers(1, 16),
    st.integers(0, 15),
    st.sampled_from(["smooth", "noise", "grey", "comb", "corner"]),
)
def test_images_are_kept_with_any_channels_mixed(size, channels, depth, mixed, kind):
    array = pixels(kind, size if channels is None else (*size, channels), depth)
    data = encode_mixed(array, mixed, depth=depth)
    header = index_of(data).header
    for found, coded in zip(header.mixed, header.coded, strict=True):
        limited = mixed & ((1 << coded) - 1 | FAR)
        assert found == (limited if limited & 7 else 0)
    assert np.array_equal(pp.decode(data), array)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.tuples(st.integers(1, 80), st.integers(1, 80)), st.booleans(), st.integers(4, 15))
def test_images_from_ycbcr_are_kept(seed, size, has_alpha, mixed):
    rng = np.random.default_rng(seed)
    array = np.moveaxis(draw_colours(rng, *size), 0, -1).astype(np.uint8)
    if has_alpha:
        array = np.concatenate([array, rng.integers(0, 256, (*size, 1), np.uint8)], axis=2)
    if not mixed & 4 or (array[..., :1] == array[..., :3]).all():
        return
    data = encode_mixed(array, mixed | YCBCR)
    assert index_of(data).header.mixed[0] == mixed | YCBCR and np.array_equal(pp.decode(data), array)


@given(st.integers(0, 2**32), st.integers(1, 100), st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]))
def test_the_colours_of_decoded_jpegs_come_from_ycbcr(seed, quality, subsampling):
    """As Pillow's libjpeg decodes them."""
    data = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(noise).resize((28, 20)).save(data, "JPEG", quality=quality, subsampling=subsampling)
    assert ycbcr.can_come_from_ycbcr(np.asarray(Image.open(data)), ycbcr.possible_colours())


def test_the_possible_colours_are_those_of_the_formula_in_every_engine():
    colours = ycbcr.possible_colours()
    can_be, chroma = np.zeros((256, 256, 256), bool), np.indices((256, 256))
    for y in range(256):
        can_be[tuple(convert_ycbcr(y, *chroma))] = True
    unpacked = np.unpackbits(colours.astype("<u8").view(np.uint8), bitorder="little").reshape(can_be.shape)
    assert np.array_equal(unpacked, can_be) and can_be.sum() == 4_261_968  # which docs/reference/format.md names
    for engine in (ENGINE, NativeEngine(NETWORK)):
        assert np.array_equal(engine.possible_colours(), colours)
    impossible = np.argwhere(~can_be)[[0, 99, -1]].astype(np.uint8)
    assert not any(ycbcr.can_come_from_ycbcr(colour[None, None], colours) for colour in impossible)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from(SITES), st.booleans(), st.sampled_from([7, 12, 15]))
def test_the_probabilities_of_possible_values_add_up_to_at_most_one(seed, kind, is_learnt, mixed):
    """Those beyond the last decision share what they have with impossible ones between them."""
    model, values = slice_of(np.random.default_rng(seed), 1, 1, Coding(8, 0, 3, mixed | YCBCR), kind, is_learnt)
    possible, shares = ycbcr.possible_colours()[tuple(values[:2, 0, 0])].astype("<u8"), []
    for value in np.flatnonzero(np.unpackbits(possible.view(np.uint8), bitorder="little")):
        values[2], intervals = value, np.zeros((2, model.capacity), np.uint32)
        count = ENGINE.model_slice(model._replace(memory=model.memory.copy()), values, intervals)
        shares.append(Fraction(math.prod(intervals[1, :count].tolist()), TOTAL**count))
    earlier = model._replace(coding=model.coding._replace(coded=2, mixed=mixed & ~4))
    intervals = np.zeros((2, earlier.capacity), np.uint32)
    count = ENGINE.model_slice(earlier._replace(memory=model.memory.copy()), values, intervals)
    assert sum(shares) <= Fraction(math.prod(intervals[1, :count].tolist()), TOTAL**count)


def test_every_engine_refuses_a_value_that_is_not_possible():
    model, values = slice_of(np.random.default_rng(0), 2, 2, Coding(8, 0, 3, 7 | YCBCR), "ordinary", False)
    values[:2, 1, 1] = 128
    possible = ycbcr.possible_colours()[128, 128].astype("<u8")
    values[2, 1, 1] = np.flatnonzero(np.unpackbits(possible.view(np.uint8), bitorder="little") == 0)[0]
    for engine in (ENGINE, NativeEngine(NETWORK)):
        with pytest.raises(ValueError, match=r"expected|refused"):
            engine.model_slice(model, values, np.zeros((2, model.capacity), np.uint32))


@pytest.mark.parametrize(("least", "of_colours", "of_alpha"), [(-1e9, 15, 9), (1e9, 0, 0)])
def test_a_plane_is_mixed_if_that_saves_enough(least, of_colours, of_alpha, monkeypatch):
    monkeypatch.setattr(trial, "LEAST_SAVED", dict.fromkeys(EFFORTS, (least, least)))
    array = pixels("smooth", (40, 30, 4), 8)
    data = pp.encode(array, effort="fast")
    assert index_of(data).header.mixed == (of_colours, of_alpha) and np.array_equal(pp.decode(data), array)


def test_the_encoder_notices_what_an_image_was():
    """A photograph that never was a JPEG, one that was, and one with few colours."""
    images = photograph(), photograph(quality=90), photograph(colours=40)
    assert [index_of(pp.encode(image)).header.mixed for image in images] == [(0,), (6 | YCBCR,), (7 | FAR,)]


def test_colours_that_cannot_occur_cost_nothing():
    array = photograph(quality=90)
    assert len(encode_mixed(array, 6 | YCBCR)) < 0.98 * len(encode_mixed(array, 6))


def test_the_patches_of_the_trial_lie_within_the_grid_and_begin_at_even_sites():
    for sites in range(1, 700):
        spans = trial._spans(sites)
        assert all(begin % 2 == 0 and 0 <= begin < end <= sites for begin, end in spans)
        assert sum(end - begin for begin, end in spans) == min(sites, 128) and spans == sorted(spans)


def test_tiles_scales_regions_and_threads_of_a_mixed_image():
    array = pixels("smooth", (70, 1300, 3), 8)
    data = encode_mixed(array, 7)
    assert all(encode_mixed(array, 7, threads=threads) == data for threads in (1, 2, 5))
    for threads in (1, 4):
        for scale in (1, 2, 8):
            scaled = array[scale - 1 :: scale, scale - 1 :: scale]
            assert np.array_equal(pp.decode(data, scale=scale, threads=threads), scaled)
        for x in (0, 500, 1290):
            assert np.array_equal(pp.decode(data, region=(x, 9, 10, 50), threads=threads), array[9:59, x : x + 10])
    assert np.array_equal(pp.decode(data[:-9], salvage=True), array[1::2, 1::2])


@pytest.mark.parametrize("kind", ["constant", "stored"])
def test_what_was_learnt_passes_parts_that_are_not_coded(kind):
    """The octave between is constant, or noise, which is stored; the memory is that of the octave before."""
    array = between(kind)
    data, kinds = encode_mixed(array, 7), [Kind.MODEL, Kind.CONSTANT if kind == "constant" else Kind.STORED, Kind.MODEL]
    assert [entry.kind for entry in index_of(data).entries] == kinds and np.array_equal(pp.decode(data), array)


def between(kind):
    """An image whose second octave is constant or noise, unlike the ones before and after it."""
    base, finest = pixels("smooth", (64, 60, 3), 8), pixels("smooth", (256, 240, 3), 8, seed=1)
    second = np.full((128, 120, 3), 99, np.uint8) if kind == "constant" else pixels("noise", (128, 120, 3), 8)
    return interleave(finest, interleave(second, base))


@cache
def photograph(quality=None, colours=None):
    """A part of a bundled photograph: as it is, from a JPEG, or with few colours."""
    with Image.open(photographs() / "train" / "astronaut.png") as file:
        image = file.convert("RGB").crop((100, 0, 228, 128))
    if quality:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=quality)
        image = Image.open(data)
    return np.asarray(image.quantize(colours).convert("RGB") if colours else image)


@pytest.mark.parametrize("options", [{"quality": 75}, {"quality": 92}, {"colours": 40}, {"colours": 250}])
@pytest.mark.parametrize("effort", ["fast", "default"])
def test_mixing_pays_for_what_was_a_jpeg_or_has_few_colours(options, effort):
    array = photograph(**options)
    assert len(pp.encode(array, effort=effort)) < 0.95 * len(encode_mixed(array, 0, effort=effort))


IMAGES = {
    "photograph": photograph(),
    "JPEG": photograph(80),
    "few colours": photograph(colours=20),
    **{kind: pixels(kind, (70, 50, 4), 8) for kind in ("smooth", "noise", "comb", "corner")},
    "grey of 12 bits": pixels("smooth", (90, 40), 12),
}


@pytest.mark.parametrize("name", IMAGES)
def test_more_effort_gives_no_larger_file(name):
    lengths = [len(pp.encode(IMAGES[name], effort=effort)) for effort in EFFORTS]
    assert lengths == sorted(lengths, reverse=True)


class Floats:
    """The mixing of docs/reference/format.md in floating point; counters are found by their context, not by a hash."""

    def __init__(self):
        self.counters, self.bits = {}, 0.0
        self.weights = {(c, d): np.array([52000, 8000, 8000, 8000]) / 2**16 for c in range(3) for d in range(18)}
        self.maps = {at: 1 / (1 + np.exp(16.0 - np.arange(33))) for at in self.weights}

    def decide(self, c, number, contexts, value, yes, no, answer):
        if not yes or not no:
            return
        counters = [
            self.counters.setdefault((*context, value - origin, number == 1), [2048 / 4095, 0])
            for origin, *context in contexts
        ]
        shares = np.array([(4095 * share + 0.5) / 4096 for share, _ in counters])
        inputs = np.array([np.log(yes / no), *np.log(shares / (1 - shares))])
        weights, curve = self.weights[c, number], self.maps[c, number]
        z = float(np.clip(weights @ inputs, -16, 16))
        mixed = 1 / (1 + math.exp(-z))
        probability = np.clip((mixed + np.interp(z + 16, range(33), curve)) / 2, 1 / TOTAL, 1 - 1 / TOTAL)
        self.bits -= math.log2(probability if answer else 1 - probability)
        weights += (answer - mixed) * inputs / 2**7
        for counter in counters:
            counter[0] += (answer - counter[0]) / (counter[1] + 1.5)
            counter[1] = min(counter[1] + 1, 15)
        curve[math.floor(z + 16.5)] += (answer - curve[math.floor(z + 16.5)]) / 64

    def code(self, c, contexts, f, guess, n, value, steps):
        at = min(max(guess, 0), n - 1)
        is_above = value > at
        self.decide(c, 0, contexts, at, f(at + 1) - f(at), TOTAL - f(at + 1) + f(at), value == at)
        if value == at:
            return
        self.decide(c, 1, contexts, at, TOTAL - f(at + 1), f(at), is_above)
        for number in range(2, 2 + steps):
            at += 1 if is_above else -1
            beyond = TOTAL - f(at + 1) if is_above else f(at)
            self.decide(c, number, contexts, at, f(at + 1) - f(at), beyond, value == at)
            if value == at:
                return
        self.bits -= math.log2((f(value + 1) - f(value)) / beyond)

    def add(self, model, values):
        """Code a slice."""
        sites = [np.asarray(array).reshape(3, -1).T.tolist() for array in (values, *model.near)]

        def take(f, guess, c, site):
            own, near, opposite = (of_side[site] for of_side in sites)
            left = sites[0][site - 1][0] if site % model.outputs.shape[1] else near[0]
            contexts = contexts_of(c, own, near, opposite, left)
            steps = 16 if model.coding.mixed & 8 or c == 2 else 2
            self.code(c, contexts, f, guess, 1 << model.coding.bits, own[c], steps)
            return own[c]

        follow_sites(model, take)


def contexts_of(c, own, near, opposite, left):
    """What chooses the counters of a value: origins, and what else they depend on."""
    rows = [
        [(0, near[0], opposite[0]), (0,), (left,)],
        [
            (own[0], near[1] - near[0], opposite[1] - opposite[0]),
            (0, own[0]),
            (opposite[1], own[0] - opposite[0]),
        ],
        [
            (own[1], own[1] - own[0]),
            (0, own[1]),
            (opposite[2], own[1] - opposite[1], own[0] - opposite[0]),
        ],
    ]
    return [(*row, c, number) for number, row in enumerate(rows[c])]


@pytest.mark.parametrize("mixed", [7, 15])
@pytest.mark.parametrize("options", [{}, {"quality": 80}, {"colours": 40}])
def test_code_lengths_agree_with_floating_point(options, mixed):
    array = photograph(**options)[:90, 20:100]
    compact, floats, symbols = pp.load("compact"), Floats(), Symbols(pp.load("compact").engine)
    learnt = [initial_memory(compact.components, mixed) for _ in range(2)]

    def add(model, values):
        if model.near is not None:
            symbols.add(model._replace(memory=learnt[0]), values)
            floats.add(model._replace(memory=learnt[1]), values)

    pyramid = octave_images(np.moveaxis(array, -1, 0).astype(np.uint16))
    for part in list_parts(*array.shape[:2]):
        compact.follow(part, pyramid, [Coding(8, 0, 3, mixed)] * len(pyramid), learnt[0], lambda _: add)
    assert symbols.bits() == pytest.approx(floats.bits, rel=0.003)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 2), st.sampled_from(SITES), st.booleans())
def test_the_probabilities_of_all_values_add_up_to_one(seed, bits, coded, kind, is_learnt):
    """Exactly, for any channels mixed and anything learnt; no decision is certain."""
    rng, n = np.random.default_rng(seed), 2 ** min(bits, 5 - coded)
    coding, total = (
        Coding(n.bit_length() - 1, 0, coded, int(rng.integers(1, 2**coded)) | int(rng.choice([0, FAR]))),
        Fraction(0),
    )
    model, values = slice_of(rng, 1, 1, coding, kind, is_learnt)
    for number in range(n**coded):
        values[:2, 0, 0] = number % n, number // n
        intervals = np.zeros((2, model.capacity), np.uint32)
        count = ENGINE.model_slice(model._replace(memory=model.memory.copy()), values, intervals)
        assert intervals[1, :count].min() >= 1 and intervals[:, :count].sum(0).max() <= TOTAL
        total += Fraction(math.prod(intervals[1, :count].tolist()), TOTAL**count)
    assert total == 1


def decision_of(memory, number=2, yes=TOTAL // 2, channel=1):
    keys = mixing.find_keys(channel, [3, 4], [5, 6, 7], [8, 9, 10], 11)
    return mixing.Decision(memory.mixing, channel, number, keys, 12, yes, TOTAL - yes)


@settings(max_examples=40)
@given(
    st.integers(0, 2**32),
    st.one_of(st.sampled_from([1, TOTAL - 1]), st.integers(1, TOTAL - 1)),
    st.integers(0, 17),
    st.lists(st.booleans(), max_size=30),
)
def test_no_decision_is_certain_and_all_that_is_learnt_stays_in_range(seed, yes, number, answers):
    memory = slice_of(np.random.default_rng(seed), 1, 1, Coding(8, 0, 3, 7), "ordinary", True)[0].memory
    for answer in answers:
        decision = decision_of(memory, number, yes)
        assert 1 <= decision.probability < TOTAL
        decision.learn(answer)  # NumPy refuses what no counter and no map can hold
    assert np.abs(memory.mixing.weights).max() <= mixing.LARGEST_MIXING_WEIGHT


@pytest.mark.parametrize("answer", [False, True])
def test_what_always_happens_costs_next_to_nothing(answer):
    memory = initial_memory(5, 2)
    for _ in range(3000):
        decision_of(memory).learn(answer)
    assert decision_of(memory).probability / TOTAL == pytest.approx(float(answer), abs=0.001)


def test_a_value_of_one_bit_is_one_symbol():
    """Whatever the network leaves no choice about costs nothing."""
    model, values = slice_of(np.random.default_rng(0), 4, 5, Coding(1, 0, 3, 7), "ordinary", False)
    assert ENGINE.model_slice(model, values, np.zeros((2, model.capacity), np.uint32)) == values.size
