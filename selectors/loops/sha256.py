"""SHA-256 of short messages, compiled (FIPS 180-4): about 150 ns a block, without the interpreter's lock.

Only the published buckets need it: one digest for each n-gram that the memo does not hold, from many threads, where
hashlib would hold the lock 0.5 microseconds for each. Not for security; for a file's digest use hashlib."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, uint32, uint64

Array = npt.NDArray[Any]


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _root_bits(number: int, degree: int) -> int:
    """First 32 bits of the fractional part of a root, in whole numbers: floor(number^(1/degree) * 2^32) mod 2^32."""
    wanted = number << (32 * degree)
    low, high = 0, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**degree <= wanted else (low, middle)
    return low & 0xFFFFFFFF


ROUNDS = np.array([_root_bits(prime, 3) for prime in _primes(64)], np.uint32)  # section 4.2.2
START = np.array([_root_bits(prime, 2) for prime in _primes(8)], np.uint32)  # section 5.3.3


@njit(nogil=True, cache=True, inline="always")
def _right(x: int, n: int) -> int:
    return uint32(uint32(x >> uint32(n)) | uint32(x << uint32(32 - n)))


@njit(nogil=True, cache=True)
def _block(state: Array, w: Array) -> None:
    """Fold one block, the first 16 of the 64 words of `w`, into the state (section 6.2.2)."""
    for t in range(16, 64):
        a, b = w[t - 15], w[t - 2]
        s0 = _right(a, 7) ^ _right(a, 18) ^ uint32(a >> uint32(3))
        s1 = _right(b, 17) ^ _right(b, 19) ^ uint32(b >> uint32(10))
        w[t] = uint32(w[t - 16] + s0 + w[t - 7] + s1)
    a, b, c, d = state[0], state[1], state[2], state[3]
    e, f, g, h = state[4], state[5], state[6], state[7]
    for t in range(64):
        s1 = _right(e, 6) ^ _right(e, 11) ^ _right(e, 25)
        t1 = uint32(h + s1 + uint32(g ^ (e & (f ^ g))) + ROUNDS[t] + w[t])
        s0 = _right(a, 2) ^ _right(a, 13) ^ _right(a, 22)
        t2 = uint32(s0 + uint32((a & b) | (c & (a | b))))
        h, g, f, e = g, f, e, uint32(d + t1)
        d, c, b, a = c, b, a, uint32(t1 + t2)
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d
    state[4] += e
    state[5] += f
    state[6] += g
    state[7] += h


@njit(nogil=True, cache=True)
def sha256_mod(message: Array, length: int, powers: Array, modulus: int, state: Array, w: Array) -> int:
    """The digest of message[:length] as one 256-bit big-endian number, modulo `modulus`.

    `powers[k]` is 2^(32 (7 - k)) mod `modulus`; with modulus below 2^29 the sum of eight products fits 64 bits.
    `message` must have room for 72 bytes of padding; `state` is [8], `w` [64] uint32 of scratch."""
    blocks = (length + 8) // 64 + 1
    for k in range(length, blocks * 64):
        message[k] = 0
    message[length] = 0x80
    bits = uint64(length) * uint64(8)
    for k in range(8):
        message[blocks * 64 - 1 - k] = (bits >> uint64(8 * k)) & uint64(0xFF)
    for k in range(8):
        state[k] = START[k]
    for block in range(blocks):
        for k in range(16):
            p = block * 64 + 4 * k
            w[k] = (
                (uint32(message[p]) << uint32(24))
                | (uint32(message[p + 1]) << uint32(16))
                | (uint32(message[p + 2]) << uint32(8))
                | uint32(message[p + 3])
            )
        _block(state, w)
    total = uint64(0)
    for k in range(8):
        total += uint64(state[k]) * powers[k]
    return total % uint64(modulus)
