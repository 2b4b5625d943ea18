# SPDX-License-Identifier: MIT
"""A guest of a terabyte on a small host: a working set spread over all of it
runs under every scheme that can, within two gibibytes of the host's memory.

    test_big.py QUIRE
"""
import json
import resource
import subprocess
import sys
import unittest

QUIRE = sys.argv.pop(1)
LIMIT_KIB = 2 << 20


def run(*args):
    """Result of a quire command, and the most memory that any command here has had so far, in KiB."""
    done = subprocess.run([QUIRE, *args, '--json', '-'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    return done, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


class Big(unittest.TestCase):
    def check(self, *args):
        done, peak = run('compare', '--quiet', '--jobs', '1', *args)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertLess(peak, LIMIT_KIB, args)
        result = json.loads(done.stdout)
        impossible = {r['scheme']: r['why'] for r in result['not_possible']}
        self.assertIn('128 GiB', impossible['native'])
        ran = {r['scheme']: r for r in result['runs']}
        for scheme in 'nested/radix', 'nested/flat', 'nested/inverted', 'nested/inverted+linear', 'shadow', 'shadow+lazy':
            self.assertIn(scheme, ran)
            self.assertEqual(ran[scheme]['digest'], ran['nested/radix']['digest'])
            self.assertEqual(ran[scheme]['memory']['machine_bytes'], 1 << 40)

    def test_working_set_in_one_place(self):
        self.check('--mem', '1T', '--guest-mem', '1T', 'synth:gups,refs=2K,footprint=16M')

    def test_working_set_spread(self):
        self.check('--mem', '1T', '--guest-mem', '900G', 'synth:gups,refs=2K,footprint=800G')


if __name__ == '__main__':
    unittest.main(verbosity=1)
