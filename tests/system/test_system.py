#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A whole machine, recorded and replayed: `tools/check-long system`.

usage: test_system.py QUIRE [unittest options]

Boots Debian's kernel some times under QEMU. Skipped (exit code 77) unless
QUIRE_TEST_SYSTEM=1, and where QEMU or the kernel's package cannot be had.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

QUIRE = os.path.abspath(sys.argv.pop(1))
SKIP = 77
# Seconds; a boot takes about ten by itself, a replay of it as many for each scheme.
BOOT, REPLAY = 600, 3000
SCRIPT = 'echo here I am; ls /; seq 1 500 | sort -r | md5sum; exit 3'


def quire(*args, timeout=BOOT):
    return subprocess.run([QUIRE, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors='replace', timeout=timeout)


def skip(why):
    print(f'skipped: {why}')
    sys.exit(SKIP)


class System(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix='quire-test-system-')

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir, ignore_errors=True)

    def record(self, name, *options, command=('true',), code=0):
        trace = os.path.join(self.dir, name)
        done = quire('record', '--system', '-o', trace, *options, '--', *command)
        self.assertEqual(done.returncode, code, done.stderr + done.stdout)
        return trace, done

    def test_boot_to_a_shell(self):
        """From power-on to power-off, kernel references included, one digest under every scheme."""
        trace, done = self.record('boot.qtr', command=('sh', '-c', SCRIPT), code=1)
        self.assertIn('here I am', done.stdout)
        self.assertIn('exit status 3', done.stderr)
        refs, upper = (int(x) for x in re.search(r': (\d+) references, (\d+)% of them of the upper', done.stderr).groups())
        self.assertGreater(refs, 10_000_000)
        self.assertGreater(upper, 10)
        spaces, = re.search(r'(\d+) spaces were told apart', done.stderr).groups()
        self.assertGreater(int(spaces), 4)
        agree, = re.search(r'([\d.]+)% stood there', done.stderr).groups()
        self.assertGreater(float(agree), 99)
        done = quire('compare', f'trace:{trace}', '--schemes', 'all', '--json', '-', timeout=REPLAY)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        runs = result['runs']
        self.assertGreater(len(runs), 10)
        self.assertEqual(len({r['digest'] for r in runs}), 1, [(r['scheme'], r['digest']) for r in runs])
        self.assertEqual({r['refs'] for r in runs}, {refs})

    def test_the_command_alone(self):
        """Twice the same command, twice the same bytes."""
        traces = [self.record(f'{i}.qtr', '--start-at-command', command=('seq', '1', '2000'))[0] for i in (1, 2)]
        with open(traces[0], 'rb') as a, open(traces[1], 'rb') as b:
            self.assertEqual(a.read(), b.read())
        done = quire('compare', f'trace:{traces[0]}', '--schemes', 'all', '--digest', 'data', '--json', '-', timeout=REPLAY)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len({r['digest'] for r in json.loads(done.stdout)['runs']}), 1)

    def test_limit_and_files(self):
        given = os.path.join(self.dir, 'given.txt')
        with open(given, 'w') as f:
            f.write('carried in\n')
        trace, done = self.record('cat.qtr', '--start-at-command', '--file', given, command=('cat', given))
        self.assertIn('carried in', done.stdout)
        trace, done = self.record('limited.qtr', '--limit', '1M')
        self.assertIn(': 1000000 references', done.stderr)
        done = quire('run', f'trace:{trace}', '--json', '-')
        self.assertEqual(json.loads(done.stdout)['refs'], 1_000_000)

    def test_what_cannot_be(self):
        for args, code in ((('--memory', '16M'), 2), (('--kernel', '/nonexistent'), 3), (('--limit', 'x'), 2)):
            done = quire('record', '--system', '-o', os.path.join(self.dir, 'none.qtr'), *args, '--', 'true')
            self.assertEqual(done.returncode, code, done.stderr)
        done = quire('record', '--system', '-o', os.path.join(self.dir, 'none.qtr'), '--', 'no-such-command')
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn('not found', done.stderr)
        done = quire('record', '--system', '-o', '/nonexistent/x.qtr', '--', 'true')
        self.assertEqual(done.returncode, 3, done.stderr)


def main():
    if os.environ.get('QUIRE_TEST_SYSTEM') != '1':
        skip('boots a kernel for minutes; QUIRE_TEST_SYSTEM=1 or tools/check-long system runs it')
    if not shutil.which(os.environ.get('QUIRE_QEMU_SYSTEM', 'qemu-system-x86_64')):
        skip('qemu-system-x86_64 is not installed: tools/deps system')
    image = os.path.join(os.path.dirname(os.path.realpath(QUIRE)), 'plugin', 'quire-system-image')
    cache = os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'quire', 'system')
    got = subprocess.run([image, 'kernel', cache], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if got.returncode:
        skip(f'no kernel: {got.stderr.strip()}')
    unittest.main()


main()
