"""Attack the compiled functions with extreme outputs, any base, depth and gain, and damaged, random and empty parts.

    NUMBA_BOUNDSCHECK=1 python tests/fuzz/kernels.py --minutes 1

With NUMBA_BOUNDSCHECK=1 or NUMBA_DISABLE_JIT=1 in the environment, an index out of bounds raises IndexError; without
the JIT, an overflow of int64 also raises. Any exception but a BitstreamError ends the program with a traceback.
"""

import argparse
import time
import warnings

import numpy as np
from numba import config

from pixelpyramids.codec import kernels
from pixelpyramids.codec.coder import Coding, PartReader, RandomReader, Symbols, no_corrections
from pixelpyramids.codec.outputs import coarsest_outputs
from pixelpyramids.errors import BitstreamError

EXTREMES = (-(2**31), -(2**24), -8192, -1, 0, 1, 8192, 2**24, 2**31 - 1)


def draw_sites(rng, height, width, bits):
    """Draw outputs and bases of sites from the whole range of their types or of the network."""
    shape = height, width, 100
    outputs = (
        rng.choice(EXTREMES, shape),
        rng.integers(-(2**24), 2**24 + 1, shape),
        rng.integers(-30000, 30000, shape),
        np.broadcast_to(coarsest_outputs(10, 3, bits), shape),
    )[rng.integers(4)].astype(np.int32)
    limit = 4 * (2**bits - 1)
    bases = (np.zeros, lambda s: np.full(s, limit), lambda s: rng.integers(0, limit + 1, s))[rng.integers(3)]
    return outputs, bases((3, height, width)).astype(np.int32)


def attack(seed):
    """Decode whole, damaged and random parts with the same sites."""
    rng = np.random.default_rng(seed)
    bits, gain, coded = int(rng.integers(1, 17)), int(rng.integers(-7, 9)), int(rng.choice([1, 3]))
    height, width = (int(side) for side in rng.integers(1, 6, 2))
    outputs, bases = draw_sites(rng, height, width, bits)
    n, how = 2**bits, Coding(bits, gain, coded)

    learnt_before = no_corrections(1, 100)[0]
    if rng.integers(2):
        learnt_before[0] = rng.choice([-(2**21), 0, 2**21], learnt_before[0].shape)

    def learnt():
        return learnt_before.copy()

    values = (
        rng.integers(0, n, (3, height, width)),
        np.full((3, height, width), rng.choice([0, n - 1])),
        RandomReader(rng).values(outputs, bases, Coding(bits, gain, 3), learnt()),
    )[rng.integers(3)].astype(np.int32)
    symbols = Symbols(coded * height * width)  # no spare capacity
    symbols.add(outputs, bases, values, how, learnt())
    data = symbols.to_bytes()
    reader = PartReader(data)
    assert np.array_equal(reader.values(outputs, bases, how, learnt()), values[:coded])
    reader.close()
    damaged = bytearray(data)
    damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
    whole = 5 if len(data) % 2 else 6
    for wrong in (bytes(damaged), data[:whole], data[:-2], rng.bytes(len(data)), data + b"ab"):
        try:
            reader = PartReader(wrong)
            found = reader.values(outputs, bases, how, learnt())
            assert found.min() >= 0 and found.max() < n
            reader.close()
        except BitstreamError:
            continue
        symbols = Symbols(found.size)  # an accepted part is exactly what its values are encoded as
        symbols.add(outputs, bases, found, how, learnt())
        assert symbols.to_bytes() == wrong


def check_table_ends():
    """Call sigmoid and power with every index of the tables, and beyond."""
    for z in (-(2**62), -(2**20) - 1, -(2**20), 1 - 2**20, 2**20 - 1, 2**20, 2**20 + 1, 2**62):
        assert 0 < kernels.sigmoid(z) < 2**24
    if config.BOUNDSCHECK or config.DISABLE_JIT:
        try:
            kernels.power(8192)
        except IndexError:
            pass
        else:
            raise AssertionError("expected IndexError from an index out of bounds: the checks are off")
    found = [kernels.power(exponent) for exponent in range(4096)]
    assert found[0] == 2**16 and found[-1] == 2**15


def main():
    """Attack for some rounds or minutes; print the number of rounds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2**62)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("error", RuntimeWarning)  # NumPy's sign of an integer overflow
    check_table_ends()
    attack(arguments.seed)  # compiles; not counted
    began, rounds = time.monotonic(), 0
    while rounds < arguments.rounds and time.monotonic() < began + 60 * arguments.minutes:
        attack(arguments.seed + rounds)
        rounds += 1
    print(f"{rounds} rounds in {time.monotonic() - began:.0f} s: all refused or read")


if __name__ == "__main__":
    main()
