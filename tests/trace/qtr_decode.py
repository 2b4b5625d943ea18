#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A decoder of .qtr written from docs/qtr-format.md alone: it shares no code with Quire's.

    qtr_decode.py FILE      prints one item a line, as tests/trace/qtr_dump.c does
"""
import struct
import subprocess
import sys

SECRET = bytes.fromhex(
    'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221'
    'b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8'
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb'
    '170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e')
P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
M64 = (1 << 64) - 1
M32 = (1 << 32) - 1


def u64(b, at):
    return int.from_bytes(b[at:at + 8], 'little')


def fold(a, b):
    product = a * b
    return (product ^ product >> 64) & M64


def avalanche(h):
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & M64
    return h ^ h >> 32


def mix16(b, at, secret):
    return fold(u64(b, at) ^ u64(SECRET, secret), u64(b, at + 8) ^ u64(SECRET, secret + 8))


def xxh3_long(b):
    acc = [P32[2], *P64[:4], P32[1], P64[4], P32[0]]

    def stripe(at, secret):
        words = struct.unpack_from('<8Q', b, at)
        for i, word in enumerate(words):
            key = word ^ u64(SECRET, secret + 8 * i)
            acc[i ^ 1] = (acc[i ^ 1] + word) & M64
            acc[i] = (acc[i] + (key & M32) * (key >> 32)) & M64

    per_block = (192 - 64) // 8
    stripes = (len(b) - 1) // 64
    for n in range(stripes):
        stripe(64 * n, 8 * (n % per_block))
        if n % per_block == per_block - 1:
            for i in range(8):
                a = acc[i]
                acc[i] = ((a ^ a >> 47 ^ u64(SECRET, 128 + 8 * i)) * P32[0]) & M64
    stripe(len(b) - 64, 192 - 64 - 7)
    h = len(b) * P64[0] & M64
    for i in range(4):
        h += fold(acc[2 * i] ^ u64(SECRET, 11 + 16 * i), acc[2 * i + 1] ^ u64(SECRET, 19 + 16 * i))
    return avalanche(h & M64)


def xxh3(b):
    """XXH3, 64 bits, seed 0; lengths 1 to 8 do not occur in .qtr."""
    n = len(b)
    if n > 240:
        return xxh3_long(b)
    if n == 0:
        h = u64(SECRET, 56) ^ u64(SECRET, 64)
        h = (h ^ h >> 33) * P64[1] & M64
        h = (h ^ h >> 29) * P64[2] & M64
        return h ^ h >> 32
    h = n * P64[0] & M64
    if n <= 16:
        low = u64(b, 0) ^ u64(SECRET, 24) ^ u64(SECRET, 32)
        high = u64(b, n - 8) ^ u64(SECRET, 40) ^ u64(SECRET, 48)
        return avalanche(n + int.from_bytes(low.to_bytes(8, 'little'), 'big') + high + fold(low, high) & M64)
    if n <= 128:
        for i in reversed(range((n - 1) // 32 + 1)):
            h += mix16(b, 16 * i, 32 * i) + mix16(b, n - 16 * (i + 1), 32 * i + 16)
        return avalanche(h & M64)
    for i in range(8):
        h += mix16(b, 16 * i, 16 * i)
    h = avalanche(h & M64)
    for i in range(8, n // 16):
        h += mix16(b, 16 * i, 16 * (i - 8) + 3)
    return avalanche(h + mix16(b, n - 16, 136 - 17) & M64)


def unzstd(b, raw):
    try:
        import zstandard
        out = zstandard.ZstdDecompressor().decompress(b, max_output_size=raw)
    except ImportError:
        out = subprocess.run(['zstd', '-dcq'], input=b, stdout=subprocess.PIPE, check=True).stdout
    assert len(out) == raw, 'a column of another length'
    return out


class Column:
    """Bytes read from the front."""

    def __init__(self, b):
        self.b, self.at = b, 0

    def byte(self):
        self.at += 1
        return self.b[self.at - 1]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value & M64

    def number(self, n):
        self.at += n
        return int.from_bytes(self.b[self.at - n:self.at], 'little')

    def done(self):
        return self.at == len(self.b)


def unzigzag(z):
    return z >> 1 ^ -(z & 1)


def as_gva(a):
    """58 bits, sign-extended to 64."""
    a &= (1 << 58) - 1
    return a | (M64 ^ (1 << 58) - 1) if a >> 57 else a


def templates(column, count):
    out, fetch, address = [], 0, 0
    for _ in range(count):
        first = column.byte()
        slots = []
        for i in range(first & 127):
            bits, d = column.byte(), unzigzag(column.varint())
            if i == 0 and first & 128:
                fetch += d
                slots.append([fetch, bits, False])
            else:
                address += d
                slots.append([address, bits, True])
        out.append(slots)
    assert column.done()
    return out


def items(body, nevents):
    """Each reference and event of a block, as a line."""
    nruns, ntemplates, nslots, _ = struct.unpack_from('<4I', body)
    sizes = struct.unpack_from('<10I', body, 16)
    at, columns = 56, []
    for raw, stored in zip(sizes[::2], sizes[1::2]):
        b = body[at:at + stored]
        columns.append(Column(b if raw == stored else unzstd(b, raw)))
        at += stored
    assert at == len(body)
    runs, defs, lengths, differences, events = columns
    table = templates(defs, ntemplates)
    assert sum(map(len, table)) == nslots
    nibbles = [n for byte in lengths.b for n in (byte & 15, byte >> 4)]
    used = 0
    next_event = events.varint() if nevents else None
    for run in range(nruns + 1):
        while nevents and next_event == run:
            f = [events.byte()] + [events.varint() for _ in range(9)]
            yield 'E ' + ' '.join(map(str, f[:6])) + ' ' + ' '.join(f'{v:x}' for v in f[6:])
            nevents -= 1
            next_event = run + events.varint() if nevents else None
        if run == nruns:
            break
        for slot in table[runs.number(2)]:
            if slot[2]:
                slot[0] += unzigzag(differences.number(nibbles[used]))
                used += 1
            yield f'{"RWX"[slot[1] & 3]} {as_gva(slot[0]):x} {1 << (slot[1] >> 2)}'
    assert runs.done() and differences.done() and events.done() and (used + 1) // 2 == len(lengths.b)


def blocks(b):
    """(type, nrefs, nevents, first_ref, body) of each block; a head never written ends them."""
    magic, version = struct.unpack_from('<QI', b)
    assert magic == 0x0a1a0a0d52545189 and version == 1 and u64(b, 56) == xxh3(b[:56])
    at = 64
    while at < len(b) and any(b[at:at + 64]):
        head = b[at:at + 64]
        magic, kind, length, nrefs, nevents, _, _, _, place, first_ref, _, total = struct.unpack('<8I4Q', head)
        assert magic == 0x42525451 and place == at and total == xxh3(head[:56])
        body = b[at + 64:at + 64 + length]
        assert u64(body, 0) == xxh3(body[8:]), f'byte {at}: a body changed'
        yield kind, nrefs, nevents, first_ref, body[8:]
        at += 64 + (length + 63) // 64 * 64


def main():
    with open(sys.argv[1], 'rb') as f:
        b = f.read()
    seen = total = 0
    pages = set()
    for kind, nrefs, nevents, first_ref, body in blocks(b):
        if kind == 2:
            assert first_ref == seen
            for line in items(body, nevents):
                seen += line[0] != 'E'
                total += 1
                print(line)
        elif kind == 3:
            raw = unzstd(body, nevents * 4104)
            for i in range(nevents):
                page = raw[4104 * i:4104 * (i + 1)]
                assert u64(page, 0) == xxh3(page[8:]) and u64(page, 0) not in pages
                pages.add(u64(page, 0))
        elif kind == 5:
            refs, events = struct.unpack_from('<2Q', body)
            assert (refs, refs + events) == (seen, total)


if __name__ == '__main__':
    main()
