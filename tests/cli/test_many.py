#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Many VMs, processes, repetitions, regions of interest and seeds, as scripts meet them.

usage: test_many.py QUIRE [unittest options]
"""
import atexit
import csv
import io
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import unittest

QUIRE = sys.argv[1]
ZIPF = 'synth:zipf,refs=20K,footprint=1M'
TMP = tempfile.mkdtemp(prefix='quire-test-')
atexit.register(shutil.rmtree, TMP, ignore_errors=True)


def run(*args, timeout=200):
    return subprocess.run([QUIRE, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, cwd=TMP,
                          env={**os.environ, 'TMPDIR': TMP})


def write(name, text):
    path = os.path.join(TMP, name)
    with open(path, 'w') as f:
        f.write(text)
    return path


def trace_text(seed, n):
    r = random.Random(seed)
    return ''.join(f"{'RWI'[r.randrange(3)]} 0x{0x400000 + r.randrange(1 << 20):x} 4\n" for _ in range(n))


def counts(run):
    """What was counted, without what says how."""
    return {k: v for k, v in run.items() if k not in 
            ('schema', 'provenance', 'workload', 'configuration', 'name', 'started', 'ended')}


def numbers(tree, path=()):
    if isinstance(tree, dict):
        for k, v in tree.items():
            yield from numbers(v, path + (k,))
    elif isinstance(tree, (int, float)) and not isinstance(tree, bool):
        yield path, tree


def t95(freedom):
    """Student's quantile by bisection of the integral of its density (Simpson's rule): no table, no series."""
    c = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)

    def inside(t, steps=2000):
        h = t / steps
        f = [c * (1 + (i * h) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(steps + 1)]
        return 2 * h / 3 * (f[0] + f[-1] + 4 * sum(f[1:-1:2]) + 2 * sum(f[2:-1:2]))
    low, high = 0.0, 20.0
    for _ in range(40):
        mid = (low + high) / 2
        low, high = (mid, high) if inside(mid) < 0.95 else (low, mid)
    return low


class Many(unittest.TestCase):
    def json_of(self, *args, code=0):
        p = run(args[0], '--json', '-', *args[1:])
        self.assertEqual(p.returncode, code, (args, p.stderr.decode()))
        return json.loads(p.stdout)

    def assert_says(self, code, pattern, *args):
        p = run(*args)
        self.assertEqual(p.returncode, code, (args, p.stderr.decode()))
        self.assertRegex(p.stderr.decode(), pattern, args)

    # ---- stagger ----

    def test_fifty_staggered_vms_under_each_scheme(self):
        """One machine, 50 guests: what each guest could see is the same under every scheme, and so is when it ran."""
        work = 'synth:zipf,refs=2K,footprint=256K'
        first = None
        for scheme in ['nested/radix', 'nested/inverted', 'nested/hashed', 'shadow', 'shadow+lazy', 'inverted-shadow',
                       'agile', 'adaptive', 'paravirt']:
            doc = self.json_of('run', '-q', '-s', scheme, '--quantum', '500', '--vm', f'count=50,stagger=700,work={work}')
            seen = [(v['name'], v['digest'], v['work_digest'], v['refs'], v['guest_faults'], v['started'], v['ended'])
                    for v in doc['vms']]
            self.assertEqual([s[5] for s in seen], [700 * i for i in range(50)], scheme)
            self.assertEqual(max(s[6] for s in seen), 100000)
            self.assertEqual(len({s[2] for s in seen[:1]}), 1)
            first = first or seen
            self.assertEqual(seen, first, scheme)

    def test_time_passes_where_none_runs(self):
        doc = self.json_of('run', '--vm', f'count=3,stagger=1M,work={ZIPF}')
        self.assertEqual([(v['started'], v['ended']) for v in doc['vms']],
                         [(i * 1000000, i * 1000000 + 20000) for i in range(3)])
        text = run('run', '-q', '--vm', f'count=3,stagger=1M,work={ZIPF}').stdout.decode()
        self.assertRegex(text, r'vm +scheme +start +refs')
        self.assertRegex(text, r'vm3 +nested/radix +2M +20k')

    def test_groups_start_on_their_own(self):
        doc = self.json_of('run', '--quantum', '1K', '--vm', f'name=a,count=2,stagger=5K,work={ZIPF}',
                           '--vm', f'name=b,count=2,stagger=5K,work={ZIPF}')
        # Two that start together have a slice of the quantum each.
        self.assertEqual([v['started'] for v in doc['vms']], [0, 5000, 1000, 6000])

    # ---- repetition ----

    def test_repeat_is_concatenation(self):
        one = trace_text(1, 3000)
        once, thrice = write('once.trace', one), write('thrice.trace', one * 3)
        for options in [[], ['--limit', '7000'], ['--roi', '2500..6500'], ['--roi', '2500..6500', '--outside-roi', 'skip'],
                        ['--warmup', '3500'], ['--replace', 'opt', '--guest-mem', '800K']]:
            a = self.json_of('run', *options, '--repeat', '3', f'trace:rw-addr:{once}')
            b = self.json_of('run', *options, f'trace:rw-addr:{thrice}')
            self.assertEqual(counts(a), counts(b), options)
            self.assertEqual(a['configuration']['repeat'], 3)
        b = self.json_of('run', f'trace:rw-addr:{thrice}')
        self.assertEqual(b['refs'], 9000)
        two = self.json_of('run', '--vm', f'count=2,repeat=3,work=trace:rw-addr:{once}', '--vm', f'work=trace:rw-addr:{thrice}')
        self.assertEqual({v['refs'] for v in two['vms']}, {9000})
        self.assertEqual({v['guest_faults'] for v in two['vms']}, {b['guest_faults']})

    def test_repeat_of_a_program(self):
        doc = self.json_of('run', '-q', '--repeat', '2', '--', '/bin/true')
        self.assertEqual(doc['guest']['exits'], 2)
        self.assertEqual(doc['refs'] % 2, 0)

    def test_a_pipe_cannot_be_repeated(self):
        path = os.path.join(TMP, 'fifo')
        os.mkfifo(path)

        def feed():
            try:
                with open(path, 'w') as f:
                    f.write(trace_text(2, 10))
            except BrokenPipeError:
                pass
        t = threading.Thread(target=feed, daemon=True)
        t.start()
        self.assert_says(3, 'fifo: cannot be read twice; save it in a file', 'run', '--repeat', '2', f'trace:rw-addr:{path}')
        t.join(10)

    # ---- several works in one VM ----

    def test_works_are_processes_of_one_vm(self):
        path = write('p.trace', trace_text(3, 4000))
        works = [ZIPF, f'trace:rw-addr:{path}']
        doc = self.json_of('run', '--quantum', '100', *works)
        self.assertEqual(doc['refs'], 24000)
        self.assertEqual(doc['guest']['processes'], 2)
        self.assertEqual(doc['guest']['switches'], 81)  # 40 slices of each while both run, and then the longer one
        self.assertEqual(doc['workload'], ' + '.join(works))
        vm = self.json_of('run', '--quantum', '100', '--vm', 'work=' + ' + '.join(works))
        self.assertEqual(counts(vm), counts(doc))
        both = self.json_of('run', *works)
        self.assertEqual(both['work_digest'], doc['work_digest'])
        schemes = self.json_of('compare', '--schemes', 'native,nested/radix,shadow,agile', *works)['runs']
        self.assertEqual({r['digest'] for r in schemes}, {both['digest']})
        self.assertEqual(run('run', '-q', ZIPF, '--', '/bin/true').returncode, 0)
        p = self.json_of('run', '-q', '--vm', f'count=2,work={ZIPF} + -- /bin/echo 1 + 2', '--csv', os.path.join(TMP, 'x'))
        self.assertIn('/bin/echo 1 + 2', p['workload'])
        self.assertEqual({v['guest']['processes'] for v in p['vms']}, {2})

    def test_what_is_kept_in_memory_is_what_was_read(self):
        """Of one VM the file is read as it stands, of several what was decoded once."""
        good, bad = write('g.trace', trace_text(4, 70000)), write('b.trace', trace_text(4, 500) + 'nonsense\n')
        for path, code, options in [(good, 0, []), (good, 0, ['--limit', '40000']), (bad, 3, []),
                                    (good, 0, ['--roi', '100..40000', '--outside-roi', 'skip'])]:
            one = self.json_of('run', *options, f'trace:rw-addr:{path}', code=code)
            many = self.json_of('run', *options, '--vm', f'work=trace:rw-addr:{path}', '--vm',
                                f'name=x,count=2,work=trace:rw-addr:{path}', code=code)
            for key in ['digest', 'work_digest', 'refs', 'instructions', 'guest_faults']:
                self.assertEqual(many['vms'][0][key], one[key], (path, options, key))
                if code == 0:
                    self.assertEqual(many['vms'][1][key] if 'digest' not in key else one[key], one[key])
            rows = self.json_of('compare', *options, '--schemes', 'nested/radix,shadow', f'trace:rw-addr:{path}', code=code)
            self.assertEqual(counts(rows['runs'][0]), counts(one), (path, options))

    # ---- regions of interest ----

    def test_region_is_the_difference_of_two_runs(self):
        for scheme in ['native', 'nested/radix', 'shadow', 'shadow+lazy', 'agile', 'adaptive']:
            whole = self.json_of('run', '-s', scheme, ZIPF)
            until = {n: dict(numbers(counts(self.json_of('run', '-s', scheme, '--limit', str(n), ZIPF)))) for n in (5000, 15000)}
            part = self.json_of('run', '-s', scheme, '--roi', '5000..15K', ZIPF)
            warm = self.json_of('run', '-s', scheme, '--warmup', '5000', '--limit', '15K', ZIPF)
            self.assertEqual(part['configuration']['roi'], {'from': 5000, 'to': 15000, 'outside': 'run'})
            self.assertEqual((part['refs'], part['digest']), (10000, whole['digest']))
            for doc in (part, warm):
                for path, value in numbers(counts(doc)):
                    if path[0] in ('memory', 'seed', 'histograms') or 'per_walk' in path[0] or \
                       path[-1] in ('processes', 'frames_used', 'frames_peak', 'table_frames', 'pages_4k', 'pages_2m'):
                        continue
                    if path[0] == 'cycles':
                        self.assertLess(abs(value - (until[15000][path] - until[5000][path])), 3, (scheme, path))
                        continue
                    self.assertEqual(value, until[15000][path] - until[5000][path], (scheme, path))

    def test_warmup_and_region_together(self):
        from_8k = self.json_of('run', '--warmup', '8K', ZIPF)
        both = self.json_of('run', '--warmup', '8K', '--roi', '5K..', ZIPF)
        self.assertEqual(counts(both), counts(from_8k))
        # Skipped references are no warm-up: it is the first of those that are run.
        skip = self.json_of('run', '--warmup', '1K', '--roi', '5K..9K', '--outside-roi', 'skip', ZIPF)
        self.assertEqual(skip['refs'], 3000)
        path = write('w.trace', trace_text(5, 9000))
        cut = write('c.trace', ''.join(trace_text(5, 9000).splitlines(True)[2000:7000]))
        a = self.json_of('run', '--roi', '2K..7K', '--outside-roi', 'skip', f'trace:rw-addr:{path}')
        b = self.json_of('run', f'trace:rw-addr:{cut}')
        self.assertEqual(counts(a), counts(b))
        half = self.json_of('run', '--roi', '2K..7K', f'trace:rw-addr:{path}')
        self.assertEqual(half['instructions'], b['instructions'])
        self.assertEqual(half['refs'], b['refs'])

    def test_bad_values(self):
        for args, words in [
                (['--roi', '5..3', ZIPF], 'give FROM..TO'), (['--roi', '5', ZIPF], 'give FROM..TO'),
                (['--roi', '..', ZIPF], 'give FROM..TO'), (['--roi', 'a..b', ZIPF], 'give FROM..TO'),
                (['--roi', '20K..', ZIPF], 'ends before the 20000 references'),
                (['--roi', '20K..', '--outside-roi', 'skip', ZIPF], 'ends before the 20000 references'),
                (['--roi', '6K..', '--limit', '5K', ZIPF], 'raise --limit'),
                (['--outside-roi', 'skip', ZIPF], 'give that too'),
                (['--outside-roi', 'drop', '--roi', '1..', ZIPF], 'run or skip'),
                (['--warmup', '20K', ZIPF], 'nothing of the 20000 references of vm1'),
                (['--warmup', '2K', '--roi', '..2K', ZIPF], 'nothing of --roi'),
                (['--repeat', '0', ZIPF], 'number from 1'), (['--repeat', 'x', ZIPF], 'number from 1'),
                (['--vm', f'stagger=5,work={ZIPF}'], 'count=2 or more'),
                (['--vm', f'count=2,stagger=soon,work={ZIPF}'], 'references between two starts'),
                (['--vm', f'repeat=0,work={ZIPF}'], 'number from 1'),
                (['--vm', f'work={ZIPF} + '], 'is no workload'),
                (['--seeds', '1', ZIPF], 'from 2 to 1000'), (['--seeds', '1001', ZIPF], 'from 2 to 1000'),
                (['--seeds', '1,2,', ZIPF], 'from 2 to 1000'), (['--seeds', 'all', ZIPF], 'from 2 to 1000'),
                (['--seeds', '4,4', ZIPF], 'names 4 twice'), (['--seeds', '1,2', '--seed', '3', ZIPF], 'leave out --seed')]:
            self.assert_says(2, words, 'run', *args)

    # ---- seeds ----

    def check_statistics(self, run, docs):
        """Every number of the statistics against those of separate runs, by other code."""
        of = [dict(numbers(counts(d))) for d in docs]
        n, seen = len(docs), 0
        self.assertEqual(run['statistics']['n'], n)

        def walk(tree, path):
            nonlocal seen
            if 'ci95' not in tree:
                for k, v in tree.items():
                    walk(v, path + (k,))
                return
            values = [o.get(path, 0) for o in of]
            mean, sd = statistics.fmean(values), statistics.stdev(values)
            half = t95(n - 1) * sd / math.sqrt(n)
            near = 1e-9 * max(1, abs(mean))
            seen += sd > 0
            self.assertAlmostEqual(tree['mean'], mean, delta=near, msg=path)
            self.assertAlmostEqual(tree['sd'], sd, delta=near + 1e-9 * sd, msg=path)
            self.assertAlmostEqual(tree['ci95'][0], mean - half, delta=near + 1e-5 * half, msg=path)
            self.assertAlmostEqual(tree['ci95'][1], mean + half, delta=near + 1e-5 * half, msg=path)
            if len(set(values)) == 1:
                self.assertEqual((tree['mean'], tree['sd'], tree['ci95']), (values[0], 0, [values[0]] * 2), path)
        walk(run['statistics']['figures'], ())
        self.assertGreater(seen, 10)
        for path in [('refs',), ('walks',), ('exits', 'total'), ('cycles', 'total'), ('tlb', 'l1_misses')]:
            tree = run['statistics']['figures']
            for key in path:
                tree = tree[key]
            self.assertIn('ci95', tree)

    def test_seeds(self):
        seeds = [3, 14, 15, 92, 65]
        alone = {s: self.json_of('run', '--seed', str(s), ZIPF) for s in seeds}
        doc = self.json_of('run', '--seeds', ','.join(map(str, seeds)), ZIPF)
        self.assertEqual((doc['schema'], doc['seeds'], doc['seed']), ('quire.run/1', seeds, 3))
        self.assertEqual(counts(alone[3]), {k: v for k, v in counts(doc).items() if k in alone[3]})
        self.check_statistics(doc, list(alone.values()))
        for got, s in zip(doc['by_seed'], seeds):
            self.assertEqual((got['seed'], got['digest'], got['end']), (s, alone[s]['digest'], 'done'))
            self.assertEqual(got['figures']['walk_refs'], alone[s]['walk_refs'])
            self.assertEqual(got['workload_checksum'], alone[s]['provenance']['workload_checksum'])
        self.assertEqual(doc['statistics']['figures']['refs'], {'mean': 20000, 'sd': 0, 'ci95': [20000, 20000]})
        text = run('run', '--seeds', '4', ZIPF).stdout.decode()
        self.assertIn('4 seeds, 1 to 4', text)
        self.assertRegex(text, r'references +20k +0 +0\n')
        self.assertNotIn('same under every seed', text)
        self.assertTrue(all(len(line) <= 100 for line in text.splitlines()), text)

    def test_seeds_of_a_comparison(self):
        args = ['compare', '--schemes', 'native,nested/radix,shadow,shadow/flat', '--seeds', '6', ZIPF]
        doc = self.json_of(*args)
        self.assertEqual((doc['schema'], doc['seeds']), ('quire.compare/1', [1, 2, 3, 4, 5, 6]))
        self.assertEqual([r['scheme'] for r in doc['runs']], ['native', 'nested/radix', 'shadow'])
        self.assertEqual([r['scheme'] for r in doc['not_possible']], ['shadow/flat'])
        for r in doc['runs']:
            docs = [self.json_of('run', '-s', r['scheme'], '--seed', str(s), ZIPF) for s in doc['seeds']]
            self.check_statistics(r, docs)
        text = [run(*args, '-j', str(j)).stdout.decode() for j in (1, 3)]
        self.assertEqual(text[0], text[1])
        self.assertRegex(text[0], r'(?m)^nested/radix +[\d.]+ .*\n  deviation .*\n  95 % \+- ')
        self.assertRegex(text[0], r'shadow/flat +not possible: ')
        self.assertRegex(text[0], r'nested/radix costs least here. shadow takes .* cycles more, \+-')
        for line in text[0].splitlines():
            self.assertLessEqual(len(line), 100)
        rows = list(csv.DictReader(io.StringIO(run(*args, '--csv', '-').stdout.decode())))
        self.assertEqual([r['statistic'] for r in rows if r['scheme'] == 'shadow'],
                         ['value'] * 6 + ['mean', 'sd', 'ci95_low', 'ci95_high'])
        shadow = doc['runs'][2]['statistics']['figures']
        by = {r['statistic']: r for r in rows if r['scheme'] == 'shadow'}
        self.assertAlmostEqual(float(by['mean']['walks']), shadow['walks']['mean'], delta=1e-6)
        self.assertAlmostEqual(float(by['ci95_high']['cycles']), shadow['cycles']['total']['ci95'][1], delta=1)
        self.assertEqual(float(by['sd']['refs']), 0)
        self.assertEqual({None}, {r.get(None) for r in rows})
        caches = run(*args, '--caches', 'generic', '--csv', '-').stdout.decode()
        self.assertEqual({len(r) for r in csv.reader(io.StringIO(caches))}, {37 + 8 + 1})

    def test_seeds_of_work_that_does_not_follow_them(self):
        path = write('s.trace', trace_text(6, 3000))
        text = run('run', '--seeds', '3', f'trace:rw-addr:{path}').stdout.decode()
        self.assertIn('The work is the same under every seed', text)
        for word in ['walks', 'exits', 'L1 TLB misses']:
            self.assertRegex(text, rf'  {word} +\S+ +0 +0\n')
        several = self.json_of('run', '--seeds', '3', '--vm', f'count=2,stagger=1K,work={ZIPF} + trace:rw-addr:{path}')
        self.assertEqual(len(several['statistics']['figures']['vms']), 2)
        self.assertGreater(several['statistics']['figures']['walks']['sd'], 0)


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0]] + sys.argv[2:])
