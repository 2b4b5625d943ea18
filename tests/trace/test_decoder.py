#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Quire's decoder and the independent one agree, item for item, on recordings and made-up traces.

    test_decoder.py QUIRE QTR_DUMP
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

QUIRE, DUMP = sys.argv[1:3]
DECODER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'qtr_decode.py')


def lines(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()


@unittest.skipUnless(shutil.which('qemu-x86_64'), 'needs qemu-x86_64')
class Agreement(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix='quire-decoder-')
        self.file = os.path.join(self.dir.name, 'a.qtr')

    def tearDown(self):
        self.dir.cleanup()

    def agree(self, *options, program):
        subprocess.run([QUIRE, 'record', '-o', self.file, '--quiet', *options, '--', *program],
                       stdout=subprocess.DEVNULL, check=True)
        ours, theirs = lines(DUMP, self.file), lines(sys.executable, DECODER, self.file)
        self.assertGreater(len(ours), 1000)
        self.assertEqual(len(ours), len(theirs))
        for n, pair in enumerate(zip(ours, theirs)):
            self.assertEqual(*pair, f'item {n}')
        return ours

    def test_program(self):
        ours = self.agree('--limit', '60K', program=['ls', '/usr'])
        # From any reference on, the same follows; who runs is told first.
        refs = [line for line in ours if line[0] != 'E']
        self.assertEqual([line for line in lines(DUMP, self.file, '12345') if line[0] != 'E'], refs[12345:])

    def test_processes(self):
        self.agree('--limit', '100K', program=['sh', '-c', '/bin/true; /bin/true | /bin/true'])

    def test_contents(self):
        ours = self.agree('--contents', '--limit', '20K', program=['/bin/true'])
        self.assertGreater(sum(line.startswith('E 13 ') for line in ours), 50)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
