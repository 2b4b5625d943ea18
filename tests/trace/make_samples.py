#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sample traces of other tools' formats, written from the formats' documentation alone.

    make_samples.py FOLDER
    make_samples.py --corpus FOLDER     first inputs for the fuzzers, in folders by their names (fuzz/corpus)

Beside each sample NAME stands what a reader must say of it, in STEM.expect:

    X|R|W ADDR SIZE     a fetch, load or store, its size a power of two (see pieces())
    switch PID TID      thread PID TID    exit PID    call NUMBER

NAMES has the samples' names. Those that begin with hurt are made to hurt: they
must be refused, and take neither memory nor time.

Nothing of Quire's code is used here, and nothing of this in Quire.
"""
import gzip
import io
import lzma
import os
import random
import struct
import sys
import zipfile
import zlib

SEED = 2024


def pieces(addr, size):
    """An access as Quire tells it: 128 bytes at most, rounded up to a power of two within its page, else down."""
    while size > 128:
        yield addr, 128
        addr, size = addr + 128, size - 128
    up = 1 << (size - 1).bit_length()
    offset = addr % 4096
    yield addr, up // 2 if up > size and offset + size <= 4096 < offset + up else up


class Sample:
    """Bytes of a trace, and what they say."""

    def __init__(self):
        self.bytes = bytearray()
        self.says = []


def champsim(records=60):
    s, r = Sample(), random.Random(SEED)
    ip = 0x401000
    for _ in range(records):
        branch = r.random() < 0.2
        taken = branch and r.random() < 0.6
        stores = [r.randrange(1, 1 << 47) if r.random() < 0.15 else 0 for _ in range(2)]
        loads = [r.randrange(1, 1 << 47) if r.random() < 0.2 else 0 for _ in range(4)]
        s.bytes += struct.pack('<QBB2B4B2Q4Q', ip, branch, taken, *r.choices(range(64), k=6), *stores, *loads)
        s.says.append(f'X {ip:x} 1')
        s.says += [f'R {a:x} 1' for a in loads if a] + [f'W {a:x} 1' for a in stores if a]
        ip = r.randrange(0x400000, 0x480000) if taken else ip + r.randrange(1, 16)
    return s


class DynamoRio(Sample):
    """Entries of trace_entry.h: type, size, address."""
    READ, WRITE, PREFETCH, INSTR, BUNDLE, FLUSH, FLUSH_END = 0, 1, 2, 10, 17, 20, 21
    THREAD, THREAD_EXIT, PID, HEADER, FOOTER, MARKER, NO_FETCH, MAYBE_FETCH = 22, 23, 24, 25, 26, 28, 29, 30
    PREFETCH_WRITE_L1, ENCODING, TAKEN_JUMP = 41, 47, 48
    TIMESTAMP, CPU_ID, FILETYPE, CACHE_LINE, VERSION, PAGE_SIZE, CHUNK_COUNT = 2, 3, 9, 10, 12, 18, 20
    CHUNK_FOOTER, ORDINAL, SYSCALL, TRACE_START, TRACE_END = 21, 22, 25, 27, 28

    def __init__(self, word):
        super().__init__()
        self.word = word
        self.shown = None
        self.current = None
        self.chunks = []

    def entry(self, kind, size, addr):
        self.bytes += struct.pack('<HHQ' if self.word == 8 else '<HHI', kind, size, addr)

    def marker(self, kind, value):
        self.entry(self.MARKER, kind, value)

    def access(self, letter, kind, size, addr):
        self.entry(kind, size, addr)
        self.say_access(letter, size, addr)

    def say_access(self, letter, size, addr):
        if self.current != self.shown:
            self.says.append('switch %d %d' % self.current)
            self.shown = self.current
        self.says += [f'{letter} {a:x} {n}' for a, n in pieces(addr, max(size, 1))]

    def run_as(self, pid, tid, first=None):
        self.entry(self.THREAD, 4, tid)
        if first is not None:
            self.entry(self.PID, 4, pid)
            if first == 'more':
                self.says.append(f'thread {pid} {tid}')
        self.current = (pid, tid)

    def end_chunk(self):
        self.marker(self.CHUNK_FOOTER, len(self.chunks))
        self.chunks.append(len(self.bytes))
        self.marker(self.ORDINAL, len(self.bytes) // 12)

    def some_code(self, r, instructions):
        pc, top = 0x401000 + 16 * r.randrange(4096), (1 << 46) if self.word == 8 else 0xbfff0000
        for _ in range(instructions):
            size = r.randrange(1, 16)
            if self.word == 8 and r.random() < 0.3:
                self.entry(self.ENCODING, min(size, 8), r.getrandbits(64))
            self.access('X', r.choice([self.INSTR, self.INSTR, 11, 12, 13, 14, 15, 16, 31, self.TAKEN_JUMP, 49]), size, pc)
            pc += size
            for _ in range(r.choice([0, 0, 1, 1, 2])):
                addr = r.randrange(0x10000, top)
                if r.random() < 0.6:
                    self.access('R', self.READ, r.choice([1, 2, 4, 8, 16, 32, 64]), addr)
                else:
                    self.access('W', self.WRITE, r.choice([1, 2, 4, 8, 10, 28, 512]), addr)
            if r.random() < 0.1:
                self.entry(r.choice([self.PREFETCH, 9, 27, self.PREFETCH_WRITE_L1]), 1, r.randrange(top))


def dynamorio(word=8, threads=3, processes=2, rounds=9):
    s, r = DynamoRio(word), random.Random(SEED + word)
    s.entry(s.HEADER, 0, 5)
    s.marker(s.VERSION, 5)
    s.marker(s.FILETYPE, (0x40 if word == 8 else 0x20) | 0x200 | 0x400)
    who = [(1000 + p, 1000 + p + 10 * t) for p in range(processes) for t in range(threads)]
    seen = set()
    for turn in range(rounds):
        pid, tid = who[turn % len(who)]
        if (pid, tid) not in seen:
            s.run_as(pid, tid, first='more' if any(p == pid for p, _ in seen) else 'first')
            seen.add((pid, tid))
            s.marker(s.CACHE_LINE, 64)
            s.marker(s.PAGE_SIZE, 4096)
        else:
            s.run_as(pid, tid)
        s.marker(s.TIMESTAMP, 1000 + turn)
        s.marker(s.CPU_ID, turn % 4)
        s.some_code(r, 6)
        special(s, turn)
        if turn % 3 == 2:
            s.end_chunk()
    for i, (pid, tid) in enumerate(who):
        if i == len(who) - 1:
            break  # this one is still running when the recording ends
        s.entry(s.THREAD_EXIT, 0, tid)
    s.entry(s.FOOTER, 0, 0)
    s.says += [f'exit {1000 + p}' for p in range(processes - 1)]
    return s


def special(s, turn):
    """What is rare in code: each kind of entry once in a while."""
    pid, tid = s.current
    if turn % 3 == 0:  # a string instruction that repeats itself: one fetch, many accesses
        s.access('X', s.INSTR, 3, 0x402000)
        s.access('R', s.READ, 8, 0x7000)
        s.entry(s.NO_FETCH, 3, 0x402000)
        s.access('R', s.READ, 8, 0x7008)
        s.access('X', s.MAYBE_FETCH, 2, 0x402010)
        s.entry(s.MAYBE_FETCH, 2, 0x402010)
        s.access('W', s.WRITE, 0, 0x7100)
    if turn % 4 == 1:  # a bundle: lengths of the instructions behind the last
        s.access('X', s.INSTR, 4, 0x403000)
        s.entry(s.BUNDLE, 3, 5 | 2 << 8 | 7 << 16)
        for addr, size in [(0x403004, 5), (0x403009, 2), (0x40300b, 7)]:
            s.say_access('X', size, addr)
        s.entry(s.FLUSH, 64, 0x403000)
    if turn % 5 == 2:  # a system call, with the kernel's own references
        s.access('X', s.INSTR, 2, 0x404000)
        s.marker(s.SYSCALL, turn)
        s.says.append(f'call {turn}')
        if s.word == 8:
            s.marker(s.TRACE_START, turn)
            s.entry(s.INSTR, 4, 0xffffffff81000000)
            s.entry(s.READ, 8, 0xffff888000001000)
            s.access('W', s.WRITE, 8, 0x8000)
            s.marker(s.TRACE_END, turn)


def lackey():
    s, r = Sample(), random.Random(SEED)
    lines = ['==7== Lackey, an example Valgrind tool']
    for _ in range(100):
        letter, addr, size = r.choice('ILS'), r.randrange(1, 1 << 40), r.choice([1, 2, 4, 8])
        lines.append(f'I  {addr:08x},{size}' if letter == 'I' else f' {letter} {addr:08x},{size}')
        s.says.append(f'{dict(I="X", L="R", S="W")[letter]} {addr:x} {size}')
    s.bytes += ('\n'.join(lines) + '\n').encode()
    return s


def zip_of(parts, method=zipfile.ZIP_DEFLATED, streamed=False, zip64=False):
    """An archive of parts; streamed as into a pipe: sizes behind the data."""
    class Pipe(io.RawIOBase):
        def __init__(self):
            self.got = bytearray()

        def writable(self):
            return True

        def write(self, b):
            self.got += b
            return len(b)

    out = Pipe() if streamed else io.BytesIO()
    with zipfile.ZipFile(out, 'w', method) as z:
        for i, part in enumerate(parts):
            info = zipfile.ZipInfo(f'chunk.{i:04}', (2024, 1, 1, 0, 0, 0))
            info.compress_type = method
            with z.open(info, 'w', force_zip64=zip64) as f:
                f.write(part)
    return bytes(out.got if streamed else out.getvalue())


def zstd_of(data):
    """Frames of raw blocks (RFC 8878, 3.1.1): packed by nobody, unpacked by all. Two of them, and one to skip between."""
    def frame(b):
        head = struct.pack('<IBI', 0xfd2fb528, 0xa0, len(b))  # one segment, its size in four bytes
        cut = [b[i:i + 1000] for i in range(0, len(b), 1000)] or [b'']
        return head + b''.join(struct.pack('<I', len(c) << 3 | (i == len(cut) - 1))[:3] + c for i, c in enumerate(cut))
    half = len(data) // 2
    return frame(data[:half]) + struct.pack('<II', 0x184d2a50, 3) + b'???' + frame(data[half:])


def gzip_of(data, level=6):
    return gzip.compress(data, level, mtime=0)


def cut_at(data, places):
    edges = [0, *places, len(data)]
    return [bytes(data[a:b]) for a, b in zip(edges, edges[1:])]


def hurtful_xz(data):
    """Asks for a dictionary of 1 GiB (xz format 5.3.1), its sum made right."""
    b = bytearray(lzma.compress(data))
    assert b[12:16] == b'\x02\x00\x21\x01'
    b[16] = 36
    b[20:24] = struct.pack('<I', zlib.crc32(bytes(b[12:20])))
    return bytes(b)


def hurtful_zstd(data):
    """Asks for a window of 1 GiB (RFC 8878, 3.1.1.1.2)."""
    return struct.pack('<IBB', 0xfd2fb528, 0, 20 << 3) + struct.pack('<I', len(data) << 3 | 1)[:3] + data


def samples():
    """Name, bytes, stem of the expectation."""
    c, d, d32, text = champsim(), dynamorio(), dynamorio(word=4), lackey()
    chunks = cut_at(d.bytes, d.chunks)
    raw = bytes(c.bytes)
    yield from ((stem + '.expect', ('\n'.join(s.says) + '\n').encode())
                for stem, s in [('champsim', c), ('dr64', d), ('dr32', d32), ('text', text)])
    yield 'champsim.champsimtrace', raw
    yield 'champsim.1.champsimtrace.gz', gzip_of(raw[:1280]) + gzip_of(raw[1280:]) + bytes(64)
    yield 'champsim.2.champsimtrace.xz', lzma.compress(raw[:640]) + lzma.compress(raw[640:], check=lzma.CHECK_SHA256)
    yield 'champsim.3.champsimtrace.zst', zstd_of(raw)
    yield 'dr64.1.trace', bytes(d.bytes)
    yield 'dr64.2.trace.gz', gzip_of(d.bytes)
    yield 'dr64.3.trace.zip', zip_of(chunks)
    yield 'dr64.4.trace.zip', zip_of(chunks, streamed=True)
    yield 'dr64.5.trace.zip', zip_of(chunks, method=zipfile.ZIP_STORED)
    yield 'dr64.6.trace.zip', zip_of([b'', *chunks], zip64=True)
    yield 'dr64.7.trace.zip', zip_of(chunks, streamed=True, zip64=True)
    yield 'dr32.1.trace', bytes(d32.bytes)
    yield 'text.1.lackey.gz', gzip_of(text.bytes)
    yield 'text.2.xz', lzma.compress(bytes(text.bytes))
    yield 'hurt.1.lackey.xz', hurtful_xz(bytes(text.bytes))
    yield 'hurt.2.lackey.zst', hurtful_zstd(bytes(text.bytes))
    yield 'hurt.3.lackey.gz', gzip_of(b'==' + bytes(1 << 15) + b'\n', 9) * 9000


def corpus():
    """Small inputs that reach each part of the readers, by fuzzer."""
    c, d, d32 = champsim(20), dynamorio(rounds=7), dynamorio(word=4, rounds=5)
    yield 'champsim/records', bytes(c.bytes)
    yield 'champsim/recognised', bytes(c.bytes[:64 * 17 + 1])
    yield 'champsim/cut-short', bytes(c.bytes[:64 * 3 + 20])
    yield 'drmemtrace/entries-64', b'\0' + bytes(d.bytes[12:])
    yield 'drmemtrace/entries-32', b'\1' + bytes(d32.bytes[16:])
    yield 'drmemtrace/first-64', b'\0' + bytes(d.bytes[12:252])
    text = b'0123456789abcdef' * 40
    parts = [text[:200], text[200:]]
    yield 'input/plain', text
    yield 'input/members.gz', gzip_of(parts[0]) + gzip_of(parts[1]) + bytes(9)
    yield 'input/streams.xz', lzma.compress(parts[0], check=lzma.CHECK_CRC32) + lzma.compress(parts[1])
    yield 'input/frames.zst', zstd_of(text)
    yield 'input/deflated.zip', zip_of(parts)
    yield 'input/stored.zip', zip_of(parts, method=zipfile.ZIP_STORED)
    yield 'input/streamed.zip', zip_of(parts, streamed=True)
    yield 'input/large.zip', zip_of(parts, streamed=True, zip64=True)


def main():
    if sys.argv[1] == '--corpus':
        for name, data in corpus():
            path = os.path.join(sys.argv[2], name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, 'wb') as f:
                f.write(data)
        return
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    made = list(samples())
    made.append(('NAMES', '\n'.join(n for n, _ in made if not n.endswith('.expect')).encode() + b'\n'))
    for name, data in made:
        with open(os.path.join(folder, name), 'wb') as f:
            f.write(data)


if __name__ == '__main__':
    main()
