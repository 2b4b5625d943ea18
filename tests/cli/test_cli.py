#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The command line as scripts meet it: exit codes, messages, JSON keys and types, shape of text.

usage: test_cli.py QUIRE SOURCE_DIR [unittest options]
"""
import atexit
import csv
import io
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

QUIRE, SOURCE = sys.argv[1], sys.argv[2]
WORK = 'synth:zipf,refs=20K,footprint=1M'
SCHEMES = ['native', 'nested/radix', 'nested/flat', 'nested/inverted', 'nested/inverted+linear',
           'nested/hashed', 'nested/cuckoo', 'nested/segment', 'shadow', 'shadow+lazy', 'shadow+discard',
           'inverted-shadow', 'agile', 'adaptive', 'paravirt']
TMP = tempfile.mkdtemp(prefix='quire-test-')
atexit.register(shutil.rmtree, TMP, ignore_errors=True)


def run(*args, stdin=b'', timeout=120):
    return subprocess.run([QUIRE, *args], input=stdin, capture_output=True, timeout=timeout, cwd=TMP,
                          env={**os.environ, 'TMPDIR': TMP})


def write(name, text):
    path = os.path.join(TMP, name)
    with open(path, 'wb') as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    return path


COUNT, REAL, TEXT = int, float, str
FAULTS = ['total', 'no_backing', 'swap_in', 'unshare', 'decompress']
RUN_KEYS = {
    'scheme': TEXT, 'workload': TEXT, 'seed': COUNT, 'digest': TEXT, 'work_digest': TEXT, 'refs': COUNT,
    'instructions': COUNT, 'guest_faults': COUNT,
    'hidden_faults': {k: COUNT for k in FAULTS},
    'shadow_faults': {k: COUNT for k in ['total', 'fill', 'table_write', 'resync']},
    'tlb': {'l1_misses': COUNT, 'l2_misses': COUNT},
    'walks': COUNT, 'walk_refs': COUNT, 'walk_depth': COUNT, 'walk_refs_per_walk': REAL,
    'walk_depth_per_walk': REAL, 'histograms': {'walk_refs': {}}, 'fault_walk_refs': COUNT, 'ad_updates': COUNT,
    'exits': {'total': COUNT, 'by_reason': {}},
    'memory': {k: COUNT for k in [
        'machine_bytes', 'guest_bytes', 'guest_table_bytes', 'vmm_table_bytes', 'metadata_bytes', 'resident_bytes',
        'shared_saved_bytes', 'swapped_bytes', 'ballooned_bytes', 'compressed_bytes']},
    'cycles': {k: COUNT for k in ['total', 'translation', 'exits', 'io']},
    'provenance': {k: TEXT for k in ['version', 'command', 'machine', 'workload_checksum', 'host']},
}


class Cli(unittest.TestCase):
    def assert_shape(self, value, shape, path=''):
        if isinstance(shape, dict):
            self.assertIsInstance(value, dict, path)
            for key, sub in shape.items():
                self.assertIn(key, value, path)
                self.assert_shape(value[key], sub, f'{path}/{key}')
        else:
            self.assertIs(type(value), shape, path)

    def assert_says(self, code, pattern, *args, stdin=b''):
        p = run(*args, stdin=stdin)
        err = p.stderr.decode()
        self.assertEqual(p.returncode, code, f'{args}: {err}')
        self.assertRegex(err, pattern, args)
        self.assertTrue(err.startswith('quire: '), err)
        return p

    def json_of(self, *args, code=0, **kw):
        p = run(*args, '--json', '-', **kw)
        self.assertEqual(p.returncode, code, p.stderr.decode())
        return json.loads(p.stdout)

    # ---- what a user reads first ----

    def test_help_and_version(self):
        p = run('--help')
        self.assertEqual(p.returncode, 0)
        for name in ['compare', 'run', 'explain', 'list', 'shell']:
            self.assertIn(f'  {name} ', p.stdout.decode())
        with open(f'{SOURCE}/meson.build') as f:
            version = re.search(r"^\s*version: '([^']+)'", f.read(), re.M).group(1)
        self.assertEqual(run('--version').stdout.decode(), f'quire {version}\n')
        self.assertEqual(self.json_of('run', WORK)['provenance']['version'], version)
        for name in ['compare', 'run', 'explain']:
            p = run(name, '--help')
            self.assertEqual(p.returncode, 0)
            text = p.stdout.decode()
            self.assertTrue(text.startswith(f'Usage: quire {name} '), text)
            for option in ['--scheme', '--seed', '--machine', '--mem', '--guest-mem', '--format', '--guest-pt',
                           '--thp', '--host-thp', '--limit', '--warmup', '--json', '--quiet', '--digest']:
                self.assertIn(option, text)
            self.assertNotIn('--reclaim', text)

    def test_no_command(self):
        self.assert_says(2, 'no command')
        self.assert_says(2, "unknown command 'comprae'; did you mean 'compare'", 'comprae')

    def test_not_built_yet(self):
        for name in ['tour', 'quiz', 'report', 'scan', 'guest', 'sweep', 'serve', 'top']:
            self.assert_says(2, f'command {name} is not built yet', name)
        self.assert_says(2, 'not built yet', 'shell')
        for args in [['--reclaim', 'balloon'], ['--overcommit', '2'], ['--advise']]:
            self.assert_says(2, 'not built yet', 'run', *args, WORK)
        self.assert_says(2, 'not built yet', 'run', 'guest:xv6')
        self.assert_says(2, 'not built yet', 'run', 'grid.yaml')
        self.assert_says(2, 'not built yet', 'run', '--vm', f'min=1M,work={WORK}')

    def test_vcpu_settings(self):
        work = 'synth:tablestorm,refs=20K'
        plain = self.json_of('run', '-q', '--cpu', 'assisted', '--tlb', 'hardware', '--tlb-tags', 'on', work)
        calls = plain['guest']['syscalls']
        self.assertGreater(calls, 100)
        self.assertEqual(plain['configuration']['tlb'], 'hardware')

        soft = self.json_of('run', '-q', '--tlb', 'software', work)
        by = soft['exits']['by_reason']
        self.assertEqual(soft['configuration']['tlb'], 'software')
        self.assertEqual(soft['walks'], 0)
        for reason in ['tlb_miss', 'tlb_write', 'tlb_return']:
            self.assertEqual(by[reason], soft['tlb']['l2_misses'], reason)
        self.assertGreater(by['tlb_miss'], 1000)

        trap = self.json_of('run', '-q', '--cpu', 'trap', work)
        by = trap['exits']['by_reason']
        self.assertEqual((by['syscall'], by['sysret']), (calls, calls))
        self.assertEqual((by['exception'], by['iret']), (trap['guest_faults'],) * 2)
        self.assertEqual(trap['exits']['total'] - plain['exits']['total'],
                         2 * calls + 2 * trap['guest_faults'] + by['priv_instr'])

        off = self.json_of('run', '-q', '--tlb-tags', 'off', work)
        self.assertEqual(off['tlb']['world_switch_flushes'], off['exits']['total'])
        self.assertEqual(off['exits'], plain['exits'])
        for r in [soft, trap, off]:
            self.assertEqual((r['digest'], r['work_digest']), (plain['digest'], plain['work_digest']))

        two = self.json_of('run', '-q', '--cpu', 'trap', '--vm', f'name=a,tlb=software,cpu=assisted,work={work}',
                           '--vm', f'name=b,work={work}')
        a, b = two['vms']
        self.assertEqual((a['configuration'], b['configuration']),
                         ({'cpu': 'assisted', 'tlb': 'software'}, {'cpu': 'trap', 'tlb': 'hardware'}))
        self.assertEqual(a['exits']['by_reason']['syscall'], 0)
        self.assertEqual(b['exits']['by_reason']['syscall'], calls)
        self.assertEqual(a['exits']['by_reason']['tlb_write'], a['tlb']['l2_misses'])
        self.assertEqual(b['exits']['by_reason']['tlb_write'], 0)

    def test_vcpu_settings_without_meaning(self):
        self.assert_says(2, 'no hypervisor', 'run', '--scheme', 'native', '--cpu', 'trap', WORK)
        self.assert_says(2, 'one world', 'run', '--scheme', 'native', '--tlb-tags', 'off', WORK)
        self.assert_says(2, 'its own shadow', 'run', '--scheme', 'shadow', '--tlb', 'software', WORK)
        self.assert_says(2, 'hardware reads', 'explain', '--tlb', 'software', '--gva', '0x1000', WORK)
        self.assert_says(2, 'assisted or trap', 'run', '--vm', f'cpu=fast,work={WORK}')
        self.assert_says(2, 'hardware or software', 'run', '--vm', f'tlb=firmware,work={WORK}')
        doc = self.json_of('compare', '-q', '--tlb', 'software', '--cpu', 'trap', '--tlb-tags', 'off',
                           '--limit', '5K', WORK)
        ran = [r['scheme'] for r in doc['runs']]
        self.assertEqual(ran, [s for s in SCHEMES if s == 'native' or s.startswith('nested')])
        self.assertEqual(sorted(ran + [n['scheme'] for n in doc['not_possible']]), sorted(SCHEMES))
        self.assertEqual(doc['runs'][0]['exits']['total'], 0)

    # ---- list ----

    def test_list(self):
        whole = run('list').stdout.decode()
        for topic, name in [('schemes', 'nested/radix'), ('organisations', 'inverted'), ('modes', 'shadow'),
                            ('formats', 'sv39'), ('machines', 'none'), ('traces', 'lackey'), ('guests', 'model'),
                            ('workloads', 'synth:zipf'), ('policies', 'clock')]:
            p = run('list', topic)
            self.assertEqual(p.returncode, 0)
            self.assertIn(f'  {name} ', p.stdout.decode())
            self.assertIn(p.stdout.decode(), whole)
        for line in whole.splitlines():
            self.assertLessEqual(len(line), 100, line)
        self.assert_says(2, "unknown topic 'format'; did you mean 'formats'", 'list', 'format')
        schemes = [line.strip() for line in run('list', 'schemes').stdout.decode().splitlines()]
        self.assertEqual(schemes[:len(SCHEMES)], SCHEMES)

    # ---- compare ----

    def test_compare_table(self):
        p = run('compare', WORK)
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertEqual(p.stderr, b'')
        lines = p.stdout.decode().splitlines()
        for line in lines:
            self.assertLessEqual(len(line), 100, line)
        first = [line.split()[0] for line in lines if line.strip()]
        start = first.index('scheme')
        self.assertEqual(first[start + 1:start + 1 + len(SCHEMES)], SCHEMES)
        self.assertRegex(p.stdout.decode(), r'\S+ costs\s+least here: \d+\.\d+ times native')

    def test_compare_json(self):
        doc = self.json_of('compare', WORK)
        self.assertEqual(doc['schema'], 'quire.compare/1')
        self.assertEqual([r['scheme'] for r in doc['runs']], SCHEMES)
        self.assertEqual(doc['not_possible'], [])
        for r in doc['runs']:
            self.assert_shape(r, RUN_KEYS)
            self.assertEqual(r['refs'], 20000)
            self.assertEqual(sum(r['exits']['by_reason'].values()), r['exits']['total'])
            h = r['hidden_faults']
            self.assertEqual(h['total'], sum(h[k] for k in FAULTS[1:]))
            s = r['shadow_faults']
            self.assertEqual(s['total'], s['fill'] + s['table_write'] + s['resync'])
            self.assertEqual(sum(r['histograms']['walk_refs'].values()), r['walks'])
        self.assertEqual(len({r['digest'] for r in doc['runs']}), 1)
        self.assertEqual(len({r['work_digest'] for r in doc['runs']}), 1)
        native = doc['runs'][0]
        self.assertEqual(native['exits']['total'], 0)
        self.assertEqual(native['hidden_faults']['total'], 0)

    def test_compare_is_the_same_with_any_number_of_jobs(self):
        one, many = (run('compare', WORK, '--json', '-', '--jobs', n) for n in ['1', '4'])
        self.assertEqual(re.sub(rb'--jobs \d', b'', one.stdout), re.sub(rb'--jobs \d', b'', many.stdout))

    def test_same_command_same_bytes(self):
        args = ['compare', WORK, '--seed', '7', '--digest', 'data']
        self.assertEqual(run(*args).stdout, run(*args).stdout)
        other = run('compare', WORK, '--seed', '8', '--digest', 'data').stdout
        self.assertNotEqual(run(*args).stdout, other)

    def test_schemes(self):
        doc = self.json_of('compare', '--schemes', 'native,shadow/radix,nested', WORK)
        self.assertEqual([r['scheme'] for r in doc['runs']], ['native', 'shadow', 'nested/radix'])
        doc = self.json_of('compare', '--scheme', 'shadow+lazy', WORK)
        self.assertEqual([r['scheme'] for r in doc['runs']], ['shadow+lazy'])
        doc = self.json_of('compare', '--schemes', 'all', WORK)
        self.assertEqual([r['scheme'] for r in doc['runs']], SCHEMES)

    def test_not_possible_is_a_row(self):
        doc = self.json_of('compare', '--schemes', 'native,shadow/flat', WORK)
        self.assertEqual([r['scheme'] for r in doc['runs']], ['native'])
        self.assertEqual([n['scheme'] for n in doc['not_possible']], ['shadow/flat'])
        self.assertTrue(doc['not_possible'][0]['why'])
        p = run('compare', '--schemes', 'native,shadow/flat', WORK)
        self.assertEqual(p.returncode, 0)
        self.assertRegex(p.stdout.decode(), r'shadow/flat +not possible: \w')
        doc = self.json_of('compare', '--schemes', 'native,shadow', '--guest-pt', 'flat', WORK)
        self.assertEqual(doc['runs'], [])
        self.assertEqual(len(doc['not_possible']), 2)
        self.assert_says(2, 'not possible', 'run', '--scheme', 'shadow/flat', WORK)

    def test_digests_across_formats_and_settings(self):
        digest = {self.json_of('run', *args, WORK)['work_digest'] for args in [
            [], ['--format', 'sv39'], ['--format', 'x86-32'], ['--format', 'sv48:x86-64'], ['--thp', '--host-thp'],
            ['--guest-pt', 'inverted'], ['--machine', 'none'], ['--scheme', 'shadow', '--asids', 'off'],
            ['--format', 'sv39', '--ad', 'fault'], ['--frag', '50'], ['--p2m', 'eager'], ['--host-thp=1G']]}
        self.assertEqual(len(digest), 1)

    def test_reference_counts(self):
        """Cold, no caches, one page size: native g, nested (g+1)(h+1)-1, flat 2g+1, shadow g."""
        want = {'native': 4, 'nested/radix': 24, 'nested/flat': 9, 'shadow': 4}
        for r in self.json_of('compare', '--schemes', ','.join(want), '--machine', 'none', WORK)['runs']:
            self.assertEqual(r['walk_refs_per_walk'], want[r['scheme']], r['scheme'])
        for fmt, refs in [('x86-32', 8), ('sv39', 15), ('sv57', 35), ('x86-64:sv39', 19), ('x86-64:sv57', 29)]:
            r = self.json_of('run', '--machine', 'none', '--format', fmt, WORK)
            self.assertEqual(r['walk_refs_per_walk'], refs, fmt)

    def test_csv(self):
        p = run('compare', WORK, '--csv', '-')
        rows = list(csv.DictReader(io.StringIO(p.stdout.decode())))
        self.assertEqual([r['scheme'] for r in rows], SCHEMES)
        self.assertEqual({r['workload'] for r in rows}, {WORK})
        runs = self.json_of('compare', WORK)['runs']
        for row, r in zip(rows, runs):
            self.assertEqual(int(row['walk_refs']), r['walk_refs'])
            self.assertEqual(int(row['cycles']), r['cycles']['total'])
            self.assertEqual(row['digest'], r['digest'])
        p = run('compare', '--schemes', 'native,shadow/flat', WORK, '--csv', '-')
        rows = list(csv.reader(io.StringIO(p.stdout.decode())))
        self.assertEqual({len(r) for r in rows}, {len(rows[0])})
        self.assertTrue(rows[2][-1])

    def test_result_files(self):
        path = os.path.join(TMP, 'r.json')
        p = run('run', WORK, '--json', path, '--csv', os.path.join(TMP, 'r.csv'))
        self.assertEqual(p.returncode, 0)
        self.assertIn(b'cycles', p.stdout)
        with open(path) as f:
            self.assertEqual(json.load(f)['schema'], 'quire.run/1')
        self.assert_says(2, r'/no/such/dir/x: .*path that can be written', 'run', WORK, '--json', '/no/such/dir/x')
        self.assert_says(2, 'both go to', 'run', WORK, '--json', '-', '--csv', '-')

    # ---- run ----

    def test_run(self):
        doc = self.json_of('run', WORK)
        self.assertEqual(doc['schema'], 'quire.run/1')
        self.assertEqual(doc['scheme'], 'nested/radix')
        self.assert_shape(doc, RUN_KEYS)
        text = run('run', WORK).stdout.decode()
        for word in ['references', 'guest faults', 'walks', 'exits', 'hidden faults', 'shadow faults', 'resident',
                     doc['digest'], doc['work_digest']]:
            self.assertIn(word, text)
        for line in text.splitlines():
            self.assertLessEqual(len(line), 100)

    def test_limit_and_warmup(self):
        self.assertEqual(self.json_of('run', '--limit', '5K', WORK)['refs'], 5000)
        part = self.json_of('run', '--limit', '5K', '--warmup', '2K', WORK)
        self.assertEqual(part['refs'], 3000)
        self.assert_says(2, 'nothing .* to count', 'run', '--limit', '5K', '--warmup', '5K', WORK)

    def test_several_vms(self):
        doc = self.json_of('run', '--vm', f'name=a,scheme=shadow,count=2,work={WORK}', '--vm', f'mem=32M,work={WORK}')
        self.assertEqual([(v['name'], v['scheme']) for v in doc['vms']],
                         [('a-1', 'shadow'), ('a-2', 'shadow'), ('vm3', 'nested/radix')])
        self.assertEqual(doc['refs'], 60000)
        self.assertEqual(doc['vms'][2]['memory']['guest_bytes'], 32 << 20)
        self.assertEqual({v['work_digest'] for v in doc['vms'][:1]}, {self.json_of('run', WORK)['work_digest']})
        for bad, word in [('count=4096,work=x', 'from 1 to 4095'), ('count=0,work=x', 'from 1 to 4095'),
                           ('name=a', 'no work='), ('nmae=a,work=x', "did you mean 'name'"),
                          ('scheme=foo,work=x', 'scheme'), ('mem=lots,work=x', 'size'), ('name', 'key=value')]:
            self.assert_says(2, word, 'run', '--vm', bad)
        self.assert_says(2, 'leave out the workload', 'run', '--vm', f'work={WORK}', WORK)

    def test_many_vms(self):
        """As many as VMIDs: each with its own results, none with those of another."""
        work = 'synth:zipf,refs=500,footprint=64K'
        one = self.json_of('run', work)
        doc = self.json_of('run', '--vm', f'name=a,count=99,work={work}', '--vm', f'scheme=shadow,work={work}')
        self.assertEqual([v['name'] for v in doc['vms']], [f'a-{i}' for i in range(1, 100)] + ['vm100'])
        self.assertEqual({v['work_digest'] for v in doc['vms'][:1]}, {one['work_digest']})
        self.assertEqual({v['refs'] for v in doc['vms']}, {500})
        self.assertEqual(doc['refs'], 50000)
        for key in ['walks', 'guest_faults', 'walk_refs']:
            self.assertEqual(doc[key], sum(v[key] for v in doc['vms']), key)
        self.assertEqual(len({v['guest_faults'] for v in doc['vms']}), 1)
        for v in doc['vms']:
            self.assert_shape(v, {k: RUN_KEYS[k] for k in ['refs', 'walks', 'exits', 'memory', 'digest']})
        many = [a for i in range(30) for a in ('--vm', f'work={work}')]
        self.assertEqual(len(self.json_of('run', *many)['vms']), 30)
        self.assert_says(2, 'more than 4095 VMs', 'run', '--vm', f'count=4000,work={work}', '--vm', f'count=96,work={work}')

    def test_work_beyond_a_format(self):
        """The message names the format that takes the work, and the command so mended runs."""
        high = 'synth:zipf,refs=500,footprint=64K,base=0x4000000000'
        for fmt, advice in [('sv39', 'sv48'), ('x86-32', 'x86-64'), ('x86-pae', 'x86-64'), ('sv39:x86-64', 'sv48:x86-64')]:
            self.assert_says(2, f'reaches address 0x40000.* use --format {advice}$', 'run', '--format', fmt, high)
            self.json_of('run', '--format', advice, high)
        top = 'synth:zipf,refs=500,footprint=64K,base=0x100000000000000'
        self.assert_says(2, 'no built-in format reaches it', 'run', '--format', 'sv57', top)

    def test_too_small(self):
        self.assert_says(4, 'raise --mem', 'run', '--mem', '1M', WORK)
        self.assert_says(4, 'raise --guest-mem', 'run', '--guest-mem', '16K', WORK)

    def test_guest_replaces_pages(self):
        doc = self.json_of('run', '--guest-mem', '600K', '--replace', 'lru', WORK)
        self.assertGreater(doc['guest']['evictions'], 0)
        self.assertGreater(doc['cycles']['io'], 0)
        self.assertEqual(doc['work_digest'], self.json_of('run', WORK)['work_digest'])

    # ---- explain ----

    def test_explain(self):
        for scheme, refs in [('native', 4), ('nested/radix', 24), ('nested/flat', 9), ('shadow', 4)]:
            doc = self.json_of('explain', '--scheme', scheme, WORK, '--gva', '0x10000123')
            self.assertEqual(doc['schema'], 'quire.explain/1')
            self.assertEqual((doc['outcome'], doc['references'], len(doc['steps'])), ('mapped', refs, refs), scheme)
            self.assertEqual(doc['gva'], '0x10000123')
            for key in ['gpa', 'hva', 'hpa']:
                self.assertTrue(doc[key].endswith('123'), key)
            for step in doc['steps']:
                self.assert_shape(step, {'table': TEXT, 'level': COUNT, 'index': COUNT, 'hpa': TEXT, 'entry': TEXT,
                                         'meaning': TEXT, 'cached_by': TEXT})
                self.assertIn('gpa', step)
            if scheme.startswith('nested'):
                self.assertEqual([s['level'] for s in doc['steps'] if s['table'] == 'guest'], [3, 2, 1, 0])
        warm = self.json_of('explain', WORK, '--gva', '0x10000123', '--warm')
        self.assertLess(warm['references'], 24)

    def test_explain_steps_lead_to_the_frame(self):
        """The entries read are followed by hand: each step's address comes from the entry before."""
        doc = self.json_of('explain', '--scheme', 'native', WORK, '--gva', '0x10003008')
        table = None
        for step in doc['steps']:
            gpa, entry = int(step['gpa'], 16), int(step['entry'], 16)
            if table is not None:
                self.assertEqual(gpa & ~0xfff, table)
            self.assertEqual(gpa & 0xfff, step['index'] * 8)
            table = entry & 0x000ffffffffff000
        self.assertEqual(int(doc['gpa'], 16), table | 8)

    def test_explain_faults(self):
        doc = self.json_of('explain', WORK, '--gva', '0x7000000000')
        self.assertEqual((doc['outcome'], doc['why'], doc['gpa']), ('true-fault', 'not present', None))
        doc = self.json_of('explain', '--scheme', 'shadow', '--shadow-pages', '5', 'synth:gups,refs=20K,footprint=64M',
                           '--gva', '0x10001000')
        if doc['outcome'] == 'mapped' and doc['faults']:
            self.assertEqual([f['step'] for f in doc['faults']][:7],
                             ['exit', 'error code', 'gva', 'gva to gfn', 'gfn to hva', 'hva to frame', 'entry'])
            for f in doc['faults']:
                self.assert_shape(f, {'step': TEXT, 'error_code': COUNT, 'gva': TEXT, 'action': TEXT})
        text = run('explain', WORK, '--gva', '0x10000000').stdout.decode()
        self.assertRegex(text, r'\n 24  p2m level 0 index \d+ \(gpa bits 20-12\), hpa 0x\w+: 0x\w+, page of 4 KiB')
        self.assertRegex(text, r'references 24, depth 24')

    def test_explain_usage(self):
        self.assert_says(2, 'needs --gva', 'explain', WORK)
        self.assert_says(2, 'address such as', 'explain', WORK, '--gva', 'here')
        self.assert_says(2, 'no living process 77', 'explain', WORK, '--gva', '0x10000000', '--pid', '77')
        self.assert_says(2, 'read, write or exec', 'explain', WORK, '--gva', '0', '--access', 'peek')

    # ---- bad input of every kind ----

    def test_bad_values(self):
        for args, word in [
                (['--seed', 'x'], 'number'), (['--mem', '12Q'], 'size'), (['--mem', '1'], 'between'),
                (['--guest-mem', '-4'], 'size'), (['--limit', 'all'], 'number'), (['--format', 'x86-65'], "mean 'x86-64'"),
                (['--format', 'sv39:sv93'], "mean 'sv39'"), (['--machine', 'skylaek'], "mean 'skylake'"),
                (['--machine', 'no/such.yaml'], 'such'), (['--guest-pt', 'radxi'], "mean 'radix'"),
                (['--scheme', 'nestd/radix'], "mean 'nested/radix'"), (['--scheme', 'nested/'], 'scheme'),
                (['--scheme', ''], 'scheme'), (['--scheme', 'x' * 500], 'too long'), (['--p2m', 'soon'], 'lazy or eager'),
                (['--host-thp=3M'], '2M or 1G'), (['--digest', 'all'], 'state or data'), (['--replace', 'mru'], 'fifo'),
                (['--frag', '101'], 'percentage'), (['--shadow-pages', '0'], 'at least 1'), (['--asids', 'yes'], 'on or off'),
                (['--asids', 'on', '--format', 'x86-32'], 'no tags'), (['--ad', 'fault'], 'RISC-V'),
                (['--quantum', '0'], 'at least 1'), (['--visibility', 'none'], 'coherent'), (['--check', 'no'], 'truth'),
                (['--cpu', 'fast'], 'assisted'), (['--bogus'], 'bogus')]:
            code = 3 if 'no/such.yaml' in args else 2
            self.assert_says(code, word, 'run', *args, WORK)
        self.assert_says(2, 'argument', 'run', WORK, '--seed')
        self.assert_says(2, 'from 1 to 256', 'compare', '--jobs', '0', WORK)
        self.assert_says(2, 'schemes is empty', 'compare', '--schemes', ',', WORK)
        p = run('compare', '--pid', '1', WORK)
        self.assertEqual(p.returncode, 2)

    def test_bad_workloads(self):
        self.assert_says(2, 'no workload', 'compare')
        self.assert_says(2, 'no workload', 'compare', '--')
        self.assert_says(2, 'is no workload', 'compare', 'ls')
        self.assert_says(2, "unknown synthetic workload 'zifp'; did you mean 'zipf'", 'compare', 'synth:zifp')
        self.assert_says(2, 'foo', 'compare', 'synth:zipf,foo=1')
        self.assert_says(2, 'names no file', 'compare', 'trace:')
        self.assert_says(3, '/no/such/file', 'compare', 'trace:/no/such/file')
        self.assert_says(3, 'x.bin', 'compare', 'trace:' + write('x.bin', bytes(range(256)) * 40))
        self.assert_says(3, 'empty', 'compare', 'trace:' + write('empty', ''))
        self.assert_says(2, 'too many', 'compare', WORK, WORK)
        self.assert_says(2, 'two workloads', 'compare', WORK, '--', 'ls')
        self.assert_says(2, 'ends at 0x10000; use --format x86-32$', 'compare', '--format', 'classroom', WORK)

    def test_damaged_trace_reports_what_precedes(self):
        path = write('d.trace', ''.join(f'R 0x{0x1000 * i:x} 8\n' for i in range(1, 101)) + 'what is this\n')
        p = self.assert_says(3, r'd\.trace:101: ', 'run', f'trace:rw-addr:{path}', '--json', '-')
        doc = json.loads(p.stdout)
        self.assertEqual((doc['refs'], doc['end']), (100, 'damaged input'))
        p = self.assert_says(3, r'd\.trace:101: ', 'compare', f'trace:rw-addr:{path}')
        self.assertEqual(p.stderr.decode().count('101'), 1)

    def test_trace_from_standard_input(self):
        text = ''.join(f'R 0x{0x1000 * i:x} 8\n' for i in range(1, 101)).encode()
        doc = self.json_of('compare', 'trace:rw-addr:-', stdin=text)
        self.assertEqual({r['refs'] for r in doc['runs']}, {100})
        self.assertEqual([f for f in os.listdir(TMP) if f.startswith('quire-stdin')], [])

    def test_files_of_the_user(self):
        doc = self.json_of('run', '--machine', f'{SOURCE}/machines/laptop.yaml', WORK)
        self.assertEqual(doc['provenance']['machine'], 'laptop')
        reference = self.json_of('run', WORK)['work_digest']
        for fmt in ['odd', 'three']:
            for pair in [f'{SOURCE}/formats/{fmt}.yaml', f'x86-64:{SOURCE}/formats/{fmt}.yaml']:
                doc = self.json_of('compare', '--format', pair, WORK)
                self.assertEqual({r['work_digest'] for r in doc['runs']}, {reference})
                self.assertEqual(doc['not_possible'], [])
        self.assert_says(2, r'bad\.yaml:2: unknown key', 'run', '--machine', write('bad.yaml', 'name: a\nx: 1\n'), WORK)
        self.assert_says(2, r'bad\.yaml:\d+: not YAML', 'run', '--format', write('bad.yaml', '{{{'), WORK)
        self.assert_says(2, r'bad\.yaml:1: ', 'run', '--format', write('bad.yaml', '- &a [*a]'), WORK)
        self.assert_says(2, '1 MiB', 'run', '--machine', write('bad.yaml', 'a' * (2 << 20)), WORK)
        self.assert_says(3, r'irectory', 'run', '--machine', './', WORK)

    # ---- interrupted ----

    def interrupt_after(self, seconds):
        p = subprocess.Popen([QUIRE, 'run', '--machine', 'none', '--json', '-', 'synth:gups,refs=100M,footprint=16M'],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=TMP)
        time.sleep(seconds)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=200)
        self.assertEqual(p.returncode, 130, err)
        return out, err

    def test_interrupt(self):
        out, err = self.interrupt_after(0.3)
        if not out:
            self.assertIn(b'nothing was measured', err)
        # How long the scan takes depends on the host; once it is over there is something to print.
        seconds = 1.5
        while not out and seconds < 100:
            out, err = self.interrupt_after(seconds)
            seconds *= 2
        doc = json.loads(out)
        self.assertEqual(doc['end'], 'interrupted')
        self.assertGreater(doc['refs'], 0)

    # ---- programs ----

    def test_missing_program(self):
        p = run('compare', '--', '/no/such/program')
        self.assertIn(p.returncode, (2, 3))
        self.assertTrue(p.stderr.decode().startswith('quire: '))

    def test_program(self):
        """Recorded once for all schemes; what a failed program left is kept."""
        p = run('compare', '--json', '-', '--schemes', 'native,shadow', '--', 'echo', 'a word')
        if b'was not found' in p.stderr or b'cannot' in p.stderr:
            self.skipTest(p.stderr.decode())
        self.assertEqual((p.returncode, p.stderr), (0, b'a word\n'))
        doc = json.loads(p.stdout)
        self.assertEqual(doc['workload'], 'echo a word')
        self.assertEqual(len({r['refs'] for r in doc['runs']}), 1)
        self.assertGreater(doc['runs'][0]['refs'], 10000)
        self.assertTrue(doc['provenance']['command'].endswith("-- echo 'a word'"))
        self.assertEqual([f for f in os.listdir(TMP) if f.endswith('.qtr')], [])
        p = run('run', '--json', '-', '--', 'sh', '-c', 'exit 3')
        self.assertEqual(p.returncode, 1)
        self.assertEqual(json.loads(p.stdout)['end'], 'done')
        kept = re.search(r'exit status 3; its trace is kept at (\S+)', p.stderr.decode()).group(1)
        again = self.json_of('run', f'trace:{kept}')
        self.assertEqual(again['digest'], json.loads(p.stdout)['digest'])

    # ---- data caches ----

    def test_caches(self):
        work = ['--schemes', 'native,nested/radix,shadow', WORK]
        plain = self.json_of('compare', *work)['runs']
        for a, b in zip(plain, self.json_of('compare', '--caches', 'zen2', *work)['runs']):
            self.assertNotIn('caches', a)
            self.assertEqual(b['caches']['model'], 'zen2')
            self.assertEqual(sum(b['caches']['table'].values()), b['walk_refs'] + b['fault_walk_refs'])
            self.assertEqual(list(b['caches']['data']), ['l1', 'l2', 'llc', 'memory'])
            for key in ['digest', 'work_digest', 'walks', 'walk_refs', 'tlb', 'exits', 'memory']:
                self.assertEqual(a[key], b[key], key)
        text = run('compare', '--caches', 'generic', *work).stdout.decode()
        self.assertRegex(text, r'caches generic +tables: found in, % +data: found in, %')
        self.assertLessEqual(max(map(len, text.splitlines())), 100)
        self.assertIn('lines of tables in llc', run('run', '--caches', 'rocket', WORK).stdout.decode())
        names = run('run', '--csv', '-', '--caches', 'generic', WORK).stdout.decode().splitlines()[0]
        self.assertTrue(names.endswith(',not_possible,data_l1,data_l2,data_llc,data_memory,table_l1,table_l2,table_llc,table_memory'))
        laptop = os.path.join(SOURCE, 'machines', 'laptop.yaml')
        self.assertEqual(self.json_of('run', '--machine', laptop, '--caches', 'machine', WORK)['caches']['model'], 'machine')
        self.assert_says(2, "unknown model of caches 'zen3'; did you mean 'zen2'", 'run', '--caches', 'zen3', WORK)
        self.assert_says(2, 'machine generic has no caches', 'run', '--caches', 'machine', WORK)

    # ---- the classroom ----

    def test_classic(self):
        p = run('shell', '--classic', stdin=b'3 1 1 0x1234 y 1 2 0x9999 y 1 3 0x7777 y 6 y 2 1 0x1234 y 5 y 2 5 0x4343 y 4 n\n')
        self.assertEqual(p.returncode, 0)
        text = p.stdout.decode()
        for part in ['1 \t 0x7234\n2 \t 0x8999\n3 \t 0x9777', 'Page Hit', '1 \t 0x5234', 'Page Fault', '5 \t 0x3343']:
            self.assertIn(part, text)
        self.assertEqual(run('shell', '--classic').returncode, 0)
        self.assert_says(2, 'takes --classic', 'shell', '--fancy')

    def test_full_standard_output(self):
        with open('/dev/full', 'w') as full:
            p = subprocess.run([QUIRE, 'list'], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(p.returncode, 2)
        self.assertIn(b'standard output', p.stderr)


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
