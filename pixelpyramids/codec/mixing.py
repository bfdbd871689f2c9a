"""Context mixing in plain Python, which native/mixing.h computes too: decisions about a value, and what they learn.

What an image does again and again, such as colours that cannot occur because it once was a JPEG, corrects the network.
A value is coded as binary decisions: is it q, the mixture's mean? Is it above? Is it q + 1, q + 2, … (or q - 1, …)? For
each, the network's probability and three counters, chosen by hashed contexts, are mixed in the logistic domain, with
weights that are learnt online, as in PAQ (Mahoney 2005); a map by the mixed probability corrects the result:

    s_i = ln(p_i / (1 - p_i)),  z = sum of w_i s_i,  p = (sigma(z) + map(z)) / 2,  w_i += rate (bit - sigma(z)) s_i

docs/reference/format.md is the specification.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from pixelpyramids.codec.distributions import LARGEST_Z, TOTAL, clamp, sigmoid
from pixelpyramids.codec.integer_network import CHANNELS
from pixelpyramids.codec.memory import AGE_BITS, COUNTER_BITS, DECISIONS, FAR, MAP_ENTRIES, Mixing

SIGN = 1  # the number of a decision: 0 is for q itself, and from 2 on come the steps away from it
FIRST_STEP = 2
FEW_STEPS = 2
GROUP_BITS = 3
MAP_RATE = 6
MIXING_RATE = 19
LARGEST_MIXING_WEIGHT = 16 << 16
LN2_OF_4096 = 2839

LOGARITHMS: list[int] = [round(4096 * math.log(1 + (i + 0.5) / 256)) for i in range(256)]
STRETCHES: list[int] = [round(4096 * math.log((i + 0.5) / (4095.5 - i))) for i in range(4096)]
RATES: list[int] = [(1 << 17) // (2 * age + 3) for age in range(16)]


class SymbolCoder(Protocol):
    """Codes symbols that are given by their intervals of [0, 2**24)."""

    def decide(self, probability: int, is_yes: bool | None) -> bool:
        """Code a decision; return the answer. Yes has the interval [0, probability)."""

    def code_value(self, f: Callable[[int], int], guess: int, first: int, last: int, n: int, value: int | None) -> int:
        """Code a value x with first <= F(x) < last, whose frequencies are scaled to 2**24; return it."""


def logarithm(a: int) -> int:
    """ln(a) in 4096ths."""
    whole = a.bit_length() - 1
    return whole * LN2_OF_4096 + LOGARITHMS[((a << 8) >> whole) - 256]


def scramble(key: int, number: int) -> int:
    """A hash of 32 bits of a key and a number."""
    hashed = (key ^ number * 0x9E3779B1 & 0xFFFFFFFF) * 0x85EBCA6B & 0xFFFFFFFF
    return hashed ^ hashed >> 15


class Key(NamedTuple):
    """What chooses a counter: a hash, and the origin from which values are counted."""

    hashed: int
    origin: int


def key_of(number: int, origin: int, a: int = 0, b: int = 0) -> Key:
    """The key of a context: two numbers, and the origin."""
    return Key(scramble(scramble((number + 1) * 0x27D4EB2F & 0xFFFFFFFF, a), b), origin)


def find_keys(channel: int, own: Sequence[int], near: Sequence[int], opposite: Sequence[int], left: int) -> list[Key]:
    """The keys of a value's counters.

    They are made of the pixel's own channels before, the known pixels on either side, and the first channel of the
    pixel before it in its row.
    """
    if channel == 0:
        return [key_of(0, 0, near[0], opposite[0]), key_of(1, 0), key_of(2, left)]
    if channel == 1:
        return [
            key_of(3, own[0], near[1] - near[0], opposite[1] - opposite[0]),
            key_of(4, 0, own[0]),
            key_of(5, opposite[1], own[0] - opposite[0]),
        ]
    return [
        key_of(6, own[1], own[1] - own[0]),
        key_of(7, 0, own[1]),
        key_of(8, opposite[2], own[1] - opposite[1], own[0] - opposite[0]),
    ]


def counter_of(key: Key, value: int, is_sign: bool) -> int:
    """The index of a counter; those of eight neighbouring values lie side by side."""
    distance = value - key.origin
    group = scramble(key.hashed + is_sign & 0xFFFFFFFF, distance >> GROUP_BITS)
    return group >> (32 - COUNTER_BITS + GROUP_BITS) << GROUP_BITS | distance & ((1 << GROUP_BITS) - 1)


def steps_of(channel: int, mixed: int) -> int:
    """How many values on one side of q get decisions of their own."""
    return DECISIONS - FIRST_STEP if mixed & FAR or channel == CHANNELS - 1 else FEW_STEPS


class Decision:
    """A decision about a value: the probability of yes, of 2**24, and what is to learn from the answer.

    `yes` and `no` are the network's frequencies, neither of which is 0.
    """

    def __init__(
        self, mixing: Mixing, channel: int, number: int, keys: Sequence[Key], value: int, yes: int, no: int
    ) -> None:
        self._mixing, self._place = mixing, (channel, number)
        self._counters = [counter_of(key, value, number == SIGN) for key in keys]
        shares = (int(mixing.counters[counter]) >> AGE_BITS for counter in self._counters)
        self._inputs = [logarithm(yes) - logarithm(no), *(STRETCHES[share] for share in shares)]
        weights = mixing.weights[self._place].tolist()
        z = sum(weight * given for weight, given in zip(weights, self._inputs, strict=True)) >> 12
        z = clamp(z, -LARGEST_Z, LARGEST_Z)
        self._mixed = sigmoid(z)
        entry = min((z + LARGEST_Z) >> 16, MAP_ENTRIES - 2)
        part = z + LARGEST_Z - (entry << 16)
        low, high = mixing.maps[channel, number, entry : entry + 2].tolist()
        self._entry = min(entry + (part >> 15), MAP_ENTRIES - 1)
        mapped = (low * (65536 - part) + high * part) >> 8
        self.probability = clamp((self._mixed + mapped) >> 1, 1, TOTAL - 1)

    def learn(self, is_yes: bool) -> None:
        """Learn from the answer."""
        error = (65536 if is_yes else 0) - (self._mixed >> 8)
        moves = [(given * error + (1 << (MIXING_RATE - 1))) >> MIXING_RATE for given in self._inputs]
        weights = self._mixing.weights[self._place].tolist()
        self._mixing.weights[self._place] = [
            clamp(weight + move, -LARGEST_MIXING_WEIGHT, LARGEST_MIXING_WEIGHT)
            for weight, move in zip(weights, moves, strict=True)
        ]
        for counter in self._counters:
            share, age = divmod(int(self._mixing.counters[counter]), 1 << AGE_BITS)
            share += (((4095 if is_yes else 0) - share) * RATES[age] + (1 << 15)) >> 16
            self._mixing.counters[counter] = share << AGE_BITS | min(age + 1, 15)
        at = *self._place, self._entry
        value = int(self._mixing.maps[at])
        self._mixing.maps[at] = value + (((65535 if is_yes else 0) - value) >> MAP_RATE)


def mix_value(
    mixing: Mixing,
    coder: SymbolCoder,
    f: Callable[[int], int],
    guess: int,
    channel: int,
    keys: Sequence[Key],
    steps: int,
    possible: Sequence[int],
    n: int,
    value: int | None,
) -> int:
    """Code a value of [0, n), with the network's F, as decisions outwards from a guess; return it.

    Each decision is about the cell of a possible value: that value, and the impossible ones that follow it outwards.
    `steps` values on one side get a decision of their own. `value` is None if it is decoded.
    """

    def decide(number: int, at: int, yes: int, no: int, is_yes: bool | None) -> bool:
        if yes == 0 or no == 0:
            return no == 0
        decision = Decision(mixing, channel, number, keys, at, yes, no)
        answer = coder.decide(decision.probability, is_yes)
        decision.learn(answer)
        return answer

    edges = [-1, *possible, n]  # so that possible value i lies between edges i and i + 2
    place = _nearest(possible, guess)
    at = possible[place]
    start, end = f(edges[place] + 1), f(edges[place + 2])
    if decide(0, at, end - start, TOTAL - (end - start), None if value is None else value == at):
        return at
    is_above = decide(SIGN, at, TOTAL - end, start, None if value is None else value > at)
    for number in range(FIRST_STEP, FIRST_STEP + steps):
        place += 1 if is_above else -1
        at = possible[place]
        start, end = (end, f(edges[place + 2])) if is_above else (f(edges[place] + 1), start)
        no = TOTAL - end if is_above else start
        if decide(number, at, end - start, no, None if value is None else value == at):
            return at
    first, last = (end, TOTAL) if is_above else (0, start)
    return coder.code_value(f, guess, first, last, n, value)


def _nearest(possible: Sequence[int], guess: int) -> int:
    """The index of the possible value that is nearest to the guess; of two, the smaller one's."""
    place = bisect_left(possible, guess)
    if place and (place == len(possible) or guess - possible[place - 1] <= possible[place] - guess):
        return place - 1
    return place
