#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""quire trace as scripts meet it: what it writes is read again, exit codes, messages.

usage: test_trace.py QUIRE SAMPLES_DIR [unittest options]
"""
import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

QUIRE, SAMPLES = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
TMP = tempfile.mkdtemp(prefix='quire-test-')
atexit.register(shutil.rmtree, TMP, ignore_errors=True)
DR, CHAMPSIM = f'{SAMPLES}/dr64.3.trace.zip', f'{SAMPLES}/champsim.2.champsimtrace.xz'


def run(*args, stdin=b''):
    return subprocess.run([QUIRE, *args], input=stdin, capture_output=True, timeout=120, cwd=TMP,
                          env={**os.environ, 'TMPDIR': TMP})


def path(name, data=None):
    p = os.path.join(TMP, name)
    if data is not None:
        with open(p, 'wb') as f:
            f.write(data)
    return p


def bytes_of(name):
    with open(name, 'rb') as f:
        return f.read()


class Trace(unittest.TestCase):
    def good(self, *args, **kw):
        p = run(*args, **kw)
        self.assertEqual(p.returncode, 0, f'{args}: {p.stderr.decode()}')
        return p.stdout.decode()

    def says(self, code, pattern, *args, **kw):
        p = run(*args, **kw)
        self.assertEqual(p.returncode, code, f'{args}: {p.stderr.decode()}')
        self.assertRegex(p.stderr.decode(), pattern)
        return p.stdout.decode()

    def info(self, name):
        return json.loads(self.good('trace', 'info', '--json', '-', name))

    def rows(self, name):
        """(pid, line) of each reference."""
        text = self.good('trace', 'convert', '-q', '-o', '-', '--to-format', 'csv', name)
        return [line.split(',') for line in text.splitlines()[1:]]

    def test_info(self):
        i = self.info(DR)
        self.assertEqual((i['schema'], i['format'], i['packing']), ('quire.trace/1', 'drmemtrace', 'zip'))
        self.assertEqual(i['refs'], i['fetches'] + i['loads'] + i['stores'])
        self.assertEqual(i['refs'], sum(p['refs'] for p in i['processes']))
        self.assertEqual((len(i['processes']), i['threads'], i['damage']), (2, 6, ''))
        text = self.good('trace', 'info', DR)
        self.assertIn('drmemtrace, packed with zip', text)
        self.assertIn('DynamoRIO on x86-64, version 5', text)
        self.assertRegex(text, r'left out +\d+ prefetches, 2 flushes, 4 references of the kernel')
        self.assertEqual(self.good('trace', 'info', f'trace:{CHAMPSIM}'), self.good('trace', 'info', f'champsim:{CHAMPSIM}'))

    def test_convert_there_and_back(self):
        for name in [DR, CHAMPSIM, f'{SAMPLES}/dr32.1.trace', f'{SAMPLES}/text.2.xz']:
            want = self.rows(name)
            for to in ['a.qtr', 'a.csv']:
                self.good('trace', 'convert', '-o', to, name)
                self.assertEqual(self.rows(to), want)
            # .qtr keeps all that was there: replaying it cannot be told apart.
            if name != f'{SAMPLES}/dr32.1.trace':
                runs = [json.loads(self.good('run', '--json', '-', '--scheme', 'native', f'trace:{n}')) for n in [name, 'a.qtr']]
                for key in ['digest', 'work_digest', 'refs', 'walks', 'cycles']:
                    self.assertEqual(runs[0][key], runs[1][key])
            facts = self.good('trace', 'info', 'a.qtr')
            self.assertIn(f'converted-from {name}', ' '.join(facts.split()))

    def test_convert_to_one_process(self):
        self.says(2, r'lackey has no place for a second process \(1001 after 1000\)', 'trace', 'convert', '-o', 'b.lackey', DR)
        self.good('trace', 'cut', '-p', '1001', '-o', 'b.lackey', DR)
        want = [r[2:] for r in self.rows(DR) if r[0] == '1001']
        self.assertEqual([r[2:] for r in self.rows('b.lackey')], want)

    def test_cut(self):
        want = self.rows(DR)
        self.good('trace', 'cut', '--from', '20', '--to', '40', '-o', 'c.qtr', DR)
        self.assertEqual(self.rows('c.qtr'), want[20:40])
        self.good('trace', 'cut', '--from', '20', '--to', '40', '--pid', '1000', '-o', 'd.qtr', DR)
        self.assertEqual(self.rows('d.qtr'), [r for r in want[20:40] if r[0] == '1000'])

    def test_merge(self):
        self.good('trace', 'merge', '--quantum', '10', '-o', 'm.qtr', DR, DR, CHAMPSIM)
        merged = self.rows('m.qtr')
        self.assertEqual(len(merged), 2 * len(self.rows(DR)) + len(self.rows(CHAMPSIM)))
        self.assertEqual(len(self.info('m.qtr')['processes']), 5)
        self.assertEqual([r[2:] for r in merged if r[0] in ('1000', '1001')], [r[2:] for r in self.rows(DR)])
        self.good('trace', 'merge', '--one-machine', '-o', 'n.qtr', DR, DR)
        self.assertEqual([p['pid'] for p in self.info('n.qtr')['processes']], [1000, 1001])

    def test_check(self):
        self.assertIn('good', self.good('trace', 'check', DR, CHAMPSIM))
        cut = path('cut.zip', bytes_of(DR)[:-200])
        out = self.says(3, r'cut\.zip: byte \d+ when unpacked: byte \d+ of the zip file: it ends inside', 'trace', 'check', cut, DR)
        self.assertIn('before the damage', out)
        self.assertIn('events, good', out)  # the second file is looked at all the same
        changed = bytearray(bytes_of(CHAMPSIM))
        changed[len(changed) // 2] ^= 1
        self.says(3, r'of the xz file: damaged', 'trace', 'check', path('changed.champsimtrace.xz', bytes(changed)))
        self.says(3, 'cannot be opened', 'trace', 'check', 'nothing.qtr')
        # What was there is in the copy, and the damage is told.
        self.says(3, 'the zip file', 'trace', 'convert', '-o', 'rest.qtr', cut)
        rest = self.rows('rest.qtr')
        self.assertTrue(rest and rest == self.rows(DR)[:len(rest)])

    def test_standard_input(self):
        self.assertIn('good', self.good('trace', 'check', 'drmemtrace:-', stdin=bytes_of(DR)))
        self.assertIn('good', self.good('trace', 'check', '-', stdin=bytes_of(f'{SAMPLES}/text.1.lackey.gz')))

    def test_packed_qtr(self):
        self.good('trace', 'convert', '-o', 'p.qtr', DR)
        for tool in ['gzip', 'xz']:
            if shutil.which(tool):
                packed = path(f'p.qtr.{tool}', subprocess.run([tool, '-c', path('p.qtr')], capture_output=True).stdout)
                self.assertEqual(self.rows(packed), self.rows('p.qtr'))

    def test_usage(self):
        self.says(2, 'say what to do', 'trace')
        self.says(2, "unknown trace command 'inof'; did you mean 'info'", 'trace', 'inof')
        self.says(2, 'name a trace', 'trace', 'info')
        self.says(2, 'no option --frob', 'trace', 'info', '--frob', DR)
        self.says(2, 'no option --from', 'trace', 'convert', '--from', '1', DR)
        self.says(2, 'which with -o', 'trace', 'convert', DR)
        self.says(2, 'one trace, not', 'trace', 'cut', '-o', 'x.qtr', DR, DR)
        self.says(2, 'is not before', 'trace', 'cut', '--from', '9', '--to', '9', '-o', 'x.qtr', DR)
        self.says(2, 'at least 1 reference', 'trace', 'merge', '--quantum', '0', '-o', 'x.qtr', DR)
        self.says(2, 'does not say which format', 'trace', 'convert', '-o', 'x.bin', DR)
        self.says(2, 'not to standard output', 'trace', 'convert', '-o', '-', '--to-format', 'qtr', DR)
        same = path('same.csv', b'0x10,R\n')
        self.says(2, 'written over while it is read', 'trace', 'convert', '-o', same, same)
        self.assertEqual(bytes_of(same), b'0x10,R\n')
        for words in [['trace', '--help'], ['trace', 'merge', '--help']]:
            self.assertIn('usage: quire trace', self.good(*words))


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
