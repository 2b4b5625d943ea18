#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""quire record on the command line.

    test_record.py QUIRE QTR_DUMP
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

QUIRE, DUMP = sys.argv[1:3]
PROGRAM = r'''
#include <sys/prctl.h>
static int a[1 << 14];
__attribute__((noinline)) long sum(int k) { long s = 0; for (int i = 0; i < 1 << 14; i++) s += a[i] += k; return s; }
__attribute__((noinline)) void done(void) { __asm__ volatile(""); }
int main(void)
{
	long s = sum(1);
	prctl(0x51554952, 1, 0, 0, 0);
	s += sum(2);
	prctl(0x51554952, 0, 0, 0, 0);
	for (int i = 0; i < 8; i++)
		s += sum(i);
	done();
	return s == 42;
}
'''
DIR = tempfile.TemporaryDirectory(prefix='quire-record-')


def path(name):
    return os.path.join(DIR.name, name)


def quire(*args, **more):
    return subprocess.run([QUIRE, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, **more)


def compiled():
    out, c = path('program'), path('program.c')
    if not os.path.exists(out):
        with open(c, 'w') as f:
            f.write(PROGRAM)
        subprocess.run(['gcc', '-O1', '-static', '-o', out, c], check=True)
    return out


def counts(text):
    m = re.search(r': (\d+) references and (\d+) events of (\d+) instructions', text)
    return tuple(map(int, m.groups()))


def without_names(result):
    for key in ('workload', 'provenance'):
        result.pop(key, None)
    return result


@unittest.skipUnless(shutil.which('qemu-x86_64') and shutil.which('gcc'), 'needs qemu-x86_64 and gcc')
class Record(unittest.TestCase):
    def record(self, *options, program=None, code=0):
        done = quire('record', '-o', path('a.qtr'), *options, '--', *(program or [compiled()]))
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def result(self, *work):
        done = quire('run', '--json', '-', *work)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_replay_is_streaming(self):
        self.record()
        first = self.result('trace:' + path('a.qtr'))
        self.record()
        self.assertEqual(self.result('trace:' + path('a.qtr'))['work_digest'], first['work_digest'])
        self.assertEqual(without_names(self.result('--', compiled())), without_names(first))

    def test_summary_and_size(self):
        done = self.record(program=['echo', 'to standard output'])
        self.assertEqual(done.stdout, 'to standard output\n')
        size = int(re.search(r': (\d+) bytes', done.stderr)[1])
        self.assertEqual(size, os.path.getsize(path('a.qtr')))
        self.assertEqual(self.record('--quiet').stderr, '')

    def test_marks(self):
        whole = counts(self.record().stderr)
        by_call = counts(self.record('--marks').stderr)
        # sum() reads and writes each element once, and fetches each time round.
        self.assertAlmostEqual(by_call[0], 3 << 14, delta=200)
        by_name = counts(self.record('--start-at', 'sum', '--stop-at', 'done').stderr)
        self.assertGreater(by_name[0], 9 * by_call[0])
        self.assertLess(by_name[0], whole[0])
        self.assertEqual(by_call[1:], whole[1:], 'events are told all the same')
        none = self.record('--start-at', 'no_such_function', program=['/bin/true'])
        self.assertIn('no mark was passed', none.stderr)
        self.assertEqual(counts(none.stderr)[0], 0)

    def test_windows(self):
        whole = counts(self.record().stderr)
        later = counts(self.record('--start-after', '400K').stderr)
        self.assertAlmostEqual(later[0] / whole[0], 1 - 400e3 / whole[2], delta=0.1)
        self.assertEqual(later[2], whole[2])
        part = counts(self.record('--start-after', '200K', '--stop-after', '100K').stderr)
        self.assertAlmostEqual(part[2], 300000, delta=1000)
        self.assertAlmostEqual(part[0] / whole[0], 100e3 / whole[2], delta=0.03)
        sampled = counts(self.record('--sample', '1K/10K').stderr)
        self.assertAlmostEqual(sampled[0] / whole[0], 0.1, delta=0.03)
        self.assertEqual(counts(self.record('--sample', '1K/10K').stderr), sampled)
        self.assertEqual(counts(self.record('--limit', '12345').stderr)[0], 12345)
        # Each is a trace that replays.
        self.assertEqual(self.result('trace:' + path('a.qtr'))['refs'], 12345)

    def test_programs_that_fail(self):
        self.assertIn('exit status 1', self.record(program=['false'], code=1).stderr)
        self.assertGreater(os.path.getsize(path('a.qtr')), 1000)
        self.assertIn('signal 15', self.record(program=['sh', '-c', 'kill $$'], code=1).stderr)
        self.assertIn('not found', self.record(program=['no-such-program'], code=3).stderr)

    def test_usage(self):
        for args in (['--', 'true'], ['-o', path('a.qtr')], ['-o', path('a.qtr'), '--'],
                     ['-o', path('a.qtr'), '--sample', '5', '--', 'true'], ['-o', path('a.qtr'), 'true'],
                     ['-o', path('a.qtr'), '--sample', '5/3', '--', 'true'], ['--no-such', '--', 'true'],
                     ['-o', path('a.qtr'), '--limit', 'x', '--', 'true']):
            self.assertEqual(quire('record', *args).returncode, 2, args)
        self.assertEqual(quire('record', '-o', path('no/a.qtr'), '--', 'true').returncode, 3)
        self.assertEqual(quire('record', '--help').returncode, 0)

    def start_endless(self):
        p = subprocess.Popen([QUIRE, 'record', '-o', path('k.qtr'), '--', 'sh', '-c', 'ulimit -t 60; while :; do :; done'],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(600):
            time.sleep(0.1)
            if os.path.exists(path('k.qtr')) and os.path.getsize(path('k.qtr')) > 20000:
                return p
        self.fail('nothing was written')

    def test_interrupt(self):
        p = self.start_endless()
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(60), 130)
        self.assertGreater(counts(p.stderr.read())[0], 100000)
        p.stderr.close()
        self.assertGreater(self.result('trace:' + path('k.qtr'))['refs'], 100000)

    def test_killed_recorder(self):
        p = self.start_endless()
        children = subprocess.run(['ps', '-o', 'pid=', '--ppid', str(p.pid)], stdout=subprocess.PIPE, text=True).stdout
        p.kill()
        p.wait()
        p.stderr.close()
        for pid in children.split():
            os.kill(int(pid), signal.SIGKILL)
        lines = subprocess.run([DUMP, path('k.qtr')], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(lines.returncode, 0, lines.stderr)
        self.assertGreater(lines.stdout.count(b'\n'), 100000)
        done = quire('run', '--json', '-', '--limit', '1M', 'trace:' + path('k.qtr'))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn('cut short', done.stderr)
        self.assertGreater(json.loads(done.stdout)['refs'], 100000)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
