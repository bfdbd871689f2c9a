"""What is learnt passes from coarse to fine: who teaches whom, and how many memories are kept."""

import numpy as np
import pytest
from command_line import at_most
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelpyramids.codec.memory import Inheritance, initial_memory
from pixelpyramids.codec.parts import find_teachers, list_parts

SIDES = st.one_of(st.integers(1, 1300), st.integers(5000, 9000))


def holder_of_the_middle(parts, number):
    """The number of the part that holds the tile, an octave coarser, in which the middle of a part's tile is."""
    (tile,) = parts[number].tiles
    y, x = (tile.top + tile.bottom) // 4, (tile.left + tile.right) // 4
    for candidate, part in enumerate(parts):
        for one in part.tiles:
            if one.octave == tile.octave + 1 and one.top <= y < one.bottom and one.left <= x < one.right:
                return candidate
    return 0  # a base without tiles


@settings(max_examples=20)
@given(SIDES, SIDES)
def test_a_parts_teacher_holds_its_middle_unless_its_octave_has_many_tiles(height, width):
    parts = list_parts(height, width)
    teachers = find_teachers(parts)
    assert teachers[0] is None
    of_octave = np.bincount([part.finest for part in parts])
    for number in np.random.default_rng(0).permutation(np.arange(1, len(parts)))[:40]:
        at = holder_of_the_middle(parts, number)
        while of_octave[parts[at].finest] > 64:  # it hands on what it began with
            at = holder_of_the_middle(parts, at)
        assert teachers[number] == at < number


def test_octaves_of_64_tiles_teach_and_those_of_more_hand_on_what_they_began_with():
    for side, teaching in ((4096, True), (4097 + 256, False)):  # of the second finest octave, with 8 or 9 tiles a side
        parts = list_parts(2 * side, 2 * side)
        pairs = zip(parts[1:], find_teachers(parts)[1:], strict=True)
        assert {parts[teacher].finest for part, teacher in pairs if part.finest == 0} == {1 if teaching else 2}


def test_the_teachers_of_a_long_image_are_found_at_once():
    with at_most(60, 2**28):
        teachers = find_teachers(list_parts(1, 2**23))
    assert len(teachers) > 2**15


def tell(memory, number):
    """Leave a number in a memory."""
    for array in memory.corrections:
        array[0, 0, 0] = number


@given(SIDES, SIDES)
@settings(max_examples=20)
def test_parts_begin_with_what_their_teacher_ended_with_and_no_memory_is_kept_longer_than_needed(height, width):
    parts = list_parts(height, width)
    line, teachers = Inheritance(parts, 5, 0), find_teachers(parts)
    for number, teacher in enumerate(teachers):
        memory = line.begin(number)
        assert memory.corrections[3][0, 0, 0] == (0 if teacher is None else teacher + 1)
        tell(memory, number + 1)
        line.end(number, memory)
        assert set(line._kept) == {one for one in teachers[number + 1 :] if one is not None and one <= number}
        assert len(line._kept) <= 65
    assert not line._kept


@pytest.mark.parametrize("mixed", [0, 5])
def test_a_part_that_learns_changes_no_memory_but_its_own(mixed):
    """A part's memory is handed to several parts, which may begin in any order."""
    parts = list_parts(2, 1300)
    line = Inheritance(parts, 5, mixed)
    assert line.teachers == [None, 0, 1, 2, 3, 4, 4, 4]
    for number in (0, 1, 2, 3, 4, 7, 5, 6):
        memory = line.begin(number)
        assert memory.corrections[0][0, 0, 0] == min(number, 5) and (memory.mixing is None) == (mixed == 0)
        tell(memory, number + 1)
        if mixed:
            memory.mixing.counters[:], memory.mixing.weights[:], memory.mixing.maps[:] = 1, 1, 1
        line.end(number, memory)
    for memory in (line.begin(0), initial_memory(5, mixed)):
        assert not any(array.any() for array in memory.corrections)
        if mixed:
            assert (memory.mixing.counters == 2048 << 4).all() and (memory.mixing.weights[..., 1:] == 8000).all()
