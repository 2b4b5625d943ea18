#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""quire record --system as far as it goes without a machine.

usage: test_usage.py QUIRE [unittest options]
"""
import os
import subprocess
import sys
import tempfile
import unittest

QUIRE = os.path.abspath(sys.argv.pop(1))


class Usage(unittest.TestCase):
    def says(self, code, words, *args, env=None):
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run([QUIRE, 'record', *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=60, cwd=empty, env={**os.environ, 'XDG_CACHE_HOME': empty, **(env or {})})
            self.assertEqual(os.listdir(empty), [], 'nothing is left')
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(words, done.stderr if code else done.stdout)

    def test_usage(self):
        self.says(0, '--start-at-command', '--system', '--help')
        self.says(2, 'needs -o', '--system', '--', 'true')
        self.says(2, 'needs -- COMMAND', '--system', '-o', 'x.qtr')
        self.says(2, 'unknown option', '--system', '-o', 'x.qtr', '--frob', '--', 'true')
        self.says(2, 'unknown option or an argument is missing', '--system', '--memory')
        self.says(2, '--limit 0', '--system', '-o', 'x.qtr', '--limit', '0', '--', 'true')
        for memory in ('16M', '4G', '100000K'):
            self.says(2, 'from 96M to 2G', '--system', '-o', 'x.qtr', '--memory', memory, '--', 'true')

    def test_what_is_missing(self):
        self.says(3, 'qemu-system-x86', '--system', '-o', 'x.qtr', '--', 'true',
                  env={'QUIRE_QEMU_SYSTEM': '/nonexistent/qemu'})
        # Any program will do until it is started.
        self.says(3, '/nonexistent/kernel', '--system', '-o', 'x.qtr', '--kernel', '/nonexistent/kernel', '--', 'true',
                  env={'QUIRE_QEMU_SYSTEM': '/bin/true'})
        self.says(3, 'not found together', '--system', '-o', 'x.qtr', '--', 'true',
                  env={'QUIRE_QEMU_SYSTEM': '/bin/true', 'QUIRE_SYSTEM_PLUGIN': '/nonexistent/plugin'})


unittest.main()
