#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plug-ins as an author makes them: against installed headers, with pkg-config, outside of the tree.

usage: test_plugin.py BUILD_DIR SOURCE_DIR [unittest options]

Wrong plug-ins are the examples with one bug sown into the text.
"""
import atexit
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD, SOURCE = sys.argv[1], sys.argv[2]
TMP = tempfile.mkdtemp(prefix='quire-plugin-')
atexit.register(shutil.rmtree, TMP, ignore_errors=True)
ROOT, WORK = os.path.join(TMP, 'root'), os.path.join(TMP, 'work')
SYNTH = 'synth:zipf,refs=20K,footprint=1M'
CC = os.environ.get('CC', 'cc').split()


def sh(*args, env=None, timeout=600):
    return subprocess.run(args, capture_output=True, text=True, errors='replace', cwd=WORK, timeout=timeout,
                          env={**os.environ, **(env or {})})


def install():
    os.makedirs(WORK)
    p = sh('meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', ROOT)
    if p.returncode:
        sys.exit(f'meson install: {p.stdout}{p.stderr}')
    pc = glob.glob(f'{ROOT}/**/pkgconfig/quire.pc', recursive=True)
    programs = glob.glob(f'{ROOT}/**/bin/quire', recursive=True)
    examples = glob.glob(f'{ROOT}/**/quire/examples/plugins', recursive=True)
    if not pc or not programs or not examples:
        sys.exit('meson install left out quire.pc, bin/quire or the examples')
    return os.path.dirname(pc[0]), programs[0], examples[0]


PKG_PATH, QUIRE, EXAMPLES = install()
# What a user's pkg-config would find by itself; the sysroot stands for DESTDIR.
PKG = {'PKG_CONFIG_PATH': PKG_PATH, 'PKG_CONFIG_SYSROOT_DIR': ROOT}


def flags(what):
    return sh('pkg-config', what, 'quire', env=PKG).stdout.split()


def compile_so(name, text, defs=True):
    """text, compiled as the guide says: the finished process."""
    path = os.path.join(WORK, name + '.c')
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)
    return sh(*CC, '-std=gnu11', '-shared', '-fPIC', '-O2', '-Wall', '-Wextra', '-Wno-unused-parameter', '-Werror',
              *flags('--cflags'), name + '.c', '-o', name + '.so', *flags('--libs'), *(['-Wl,-z,defs'] if defs else []))


def example(name):
    with open(os.path.join(EXAMPLES, name + '.c'), encoding='utf-8') as f:
        return f.read()


def sown(name, *changes):
    """An example with changes made to its text, each at one place."""
    text = example(name)
    for old, new in changes:
        assert text.count(old) == 1, f'{name}.c has {text.count(old)} times: {old}'
        text = text.replace(old, new)
    return text


def quire(*args):
    return sh(QUIRE, *args)


# A plug-in is not instrumented: what its whole suite would find, the plain build's run has found.
SANITIZED = 'ASAN_OPTIONS' in os.environ
WHOLE_SUITE = 'the whole suite on plug-ins is for the plain build'


class Plugins(unittest.TestCase):
    def build(self, name, text, defs=True):
        p = compile_so(name, text, defs)
        self.assertEqual(p.returncode, 0, p.stderr)
        return f'./{name}.so'

    def refused(self, code, pattern, *args):
        p = quire(*args)
        self.assertEqual(p.returncode, code, f'{args}: {p.stdout}{p.stderr}')
        self.assertRegex(p.stderr, pattern)
        self.assertTrue(p.stderr.startswith('quire: '), p.stderr)
        self.assertEqual(p.stderr.count('\n'), 1, p.stderr)

    def caught(self, name, text, case, pattern):
        """check-plugin exits 1; the first failing case is this one, with its seed and step, for this reason."""
        p = quire('check-plugin', '--first', self.build(name, text))
        self.assertEqual(p.returncode, 1, p.stdout + p.stderr)
        first = re.search(r'^  FAILED (.*)$', p.stdout, re.M)
        self.assertIsNotNone(first, p.stdout)
        self.assertTrue(first[1].startswith(case + ': '), p.stdout)
        self.assertRegex(first[1], r'seed \d+, step \d+: ' + pattern)
        last = p.stdout.splitlines()[-1]
        self.assertRegex(last, rf'^FAILED: \d+ of \d+ cases; the first is {re.escape(case)} of ')

    # ---- the examples, by their own Makefile ----

    @classmethod
    def setUpClass(cls):
        for f in os.listdir(EXAMPLES):
            shutil.copy(os.path.join(EXAMPLES, f), WORK)
        p = sh('make', 'CC=' + ' '.join(CC), 'CFLAGS=-O2 -Wall -Wextra -Wno-unused-parameter -Werror', env=PKG)
        if p.returncode:
            sys.exit(f'make: {p.stdout}{p.stderr}')

    @unittest.skipIf(SANITIZED, WHOLE_SUITE)
    def test_examples_conform(self):
        for name, what in [('sorted', 'organisation sorted'), ('srrip', 'TLB policy srrip'), ('ideal', 'mode ideal')]:
            p = quire('check-plugin', '--seed', '7', f'./{name}.so')
            self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
            lines = p.stdout.splitlines()
            self.assertEqual(lines[0], what)
            self.assertRegex(lines[-1], r'^\d+ cases hold \(seed 7\)$')
            self.assertEqual(len(lines) - 2, int(lines[-1].split()[0]))
            self.assertTrue(all(line.startswith('  ok     ') for line in lines[1:-1]), p.stdout)

    def test_imports_nothing(self):
        """One symbol out, nothing of Quire's in."""
        for name in ['sorted', 'srrip', 'ideal']:
            out = sh('nm', '-D', '--defined-only', f'{name}.so').stdout.split('\n')
            self.assertEqual([line.split()[-1] for line in out if line], ['quire_plugin'])
            wanted = [line.split()[-1] for line in sh('nm', '-D', '-u', f'{name}.so').stdout.splitlines()]
            for symbol in wanted:
                self.assertRegex(symbol, r'^(mem(cpy|move|set|cmp)|_ITM_\w+|__gmon_start__|__cxa_finalize|__stack_chk_fail)')

    def test_each_header_alone(self):
        """Every installed header can be included by itself, digest.h where xxHash is."""
        top = next(f[2:] for f in flags('--cflags') if f.startswith('-I'))
        headers = sorted(os.path.relpath(h, top) for h in glob.glob(top + '/**/*.h', recursive=True))
        self.assertIn('pt/pt.h', headers)
        for header in headers:
            with open(os.path.join(WORK, 'alone.c'), 'w', encoding='utf-8') as f:
                f.write(f'#include "{header}"\n')
            p = sh(*CC, '-std=gnu11', '-fsyntax-only', *flags('--cflags'), 'alone.c')
            if header != 'base/digest.h':
                self.assertEqual(p.returncode, 0, f'{header}: {p.stderr}')

    # ---- what they are for ----

    def test_list(self):
        for args, name in [(('organisations', 'sorted'), 'sorted'), (('schemes', 'sorted'), 'nested/sorted'),
                           (('schemes', 'sorted'), 'shadow/sorted'), (('policies', 'srrip'), 'srrip'),
                           (('machines', 'srrip'), 'srrip'), (('modes', 'ideal'), 'ideal'), (('schemes', 'ideal'), 'ideal')]:
            topic, plugin = args
            with_it = quire('list', '--plugin', f'./{plugin}.so', topic)
            self.assertEqual(with_it.returncode, 0, with_it.stderr)
            self.assertRegex(with_it.stdout, rf'(?m)^  {name}( |$)')
            self.assertEqual(quire('list', topic, f'--plugin={plugin}.so').stdout, with_it.stdout)
            self.assertNotRegex(quire('list', topic).stdout, rf'(?m)^  {name}( |$)')

    def test_compare(self):
        """All plug-ins at once, options in any order: equal digests, and the count that the search by halves must have."""
        p = quire('compare', '--schemes', 'native,nested/sorted,shadow/sorted,ideal,nested/flat', '--plugin', './sorted.so',
                  '--plugin=./ideal.so', '--plugin', './sorted.so', '--machine', 'none', '--json', '-', SYNTH)
        self.assertEqual(p.returncode, 0, p.stderr)
        runs = {r['scheme']: r for r in json.loads(p.stdout)['runs']}
        self.assertEqual(list(runs), ['native', 'nested/sorted', 'shadow/sorted', 'ideal', 'nested/flat'])
        self.assertEqual(len({r['digest'] for r in runs.values()}), 1)
        self.assertEqual(len({r['work_digest'] for r in runs.values()}), 1)
        self.assertEqual(runs['ideal']['walk_refs_per_walk'], 4)
        self.assertEqual(runs['ideal']['memory']['vmm_table_bytes'], 0)
        self.assertEqual(runs['nested/flat']['walk_refs_per_walk'], 9)
        # Some 300 gfns: 8 or 9 references for each of the five addresses of a walk.
        self.assertGreater(runs['nested/sorted']['walk_refs_per_walk'], 4 + 5 * 7)
        self.assertLess(runs['nested/sorted']['walk_refs_per_walk'], 4 + 5 * 11)
        self.assertLess(runs['shadow/sorted']['walk_refs_per_walk'], 11)

    def test_all_means_these_too(self):
        p = quire('compare', '--plugin', './sorted.so', '--json', '-', SYNTH)
        self.assertEqual(p.returncode, 0, p.stderr)
        schemes = [r['scheme'] for r in json.loads(p.stdout)['runs']]
        self.assertEqual(schemes[-2:], ['nested/sorted', 'shadow/sorted'])
        self.assertIn('native', schemes)

    def test_run_and_explain(self):
        p = quire('run', '--plugin', './sorted.so', '--guest-pt', 'sorted', '--scheme', 'nested/sorted', '--json', '-', SYNTH)
        self.assertEqual(p.returncode, 0, p.stderr)
        p = quire('explain', '--plugin', './sorted.so', '--scheme', 'nested/sorted', '--gva', '0x10001000', '--json', '-', SYNTH)
        self.assertEqual(p.returncode, 0, p.stderr)
        x = json.loads(p.stdout)
        self.assertEqual(len(x['steps']), x['references'])

    def test_policy_in_a_machine_file(self):
        with open(os.path.join(WORK, 'm.yaml'), 'w', encoding='utf-8') as f:
            f.write('name: mine\ntlb:\n  l1i: {small: {entries: 64, ways: 4, policy: srrip}}\n'
                    '  l1d: {small: {entries: 64, ways: 4, policy: srrip}}\n')
        args = ['--json', '-', SYNTH]
        self.refused(2, "m.yaml:3: unknown policy 'srrip'", 'run', '--machine', 'm.yaml', *args)
        for scheme in ['native', 'nested/radix']:
            p = quire('run', '--plugin', 'srrip.so', '--machine', './m.yaml', '--scheme', scheme, *args)
            self.assertEqual(p.returncode, 0, p.stderr)
            mine = json.loads(p.stdout)
            plain = json.loads(quire('run', '--machine', 'none', '--scheme', scheme, *args).stdout)
            self.assertEqual(mine['digest'], plain['digest'])
            self.assertLess(mine['tlb']['l1_misses'], plain['tlb']['l1_misses'])
        p = quire('run', '--plugin', 'srrip.so', '--machine', 'srrip', *args)
        self.assertEqual(p.returncode, 0, p.stderr)

    @unittest.skipIf(SANITIZED, WHOLE_SUITE)
    def test_guide(self):
        """The plug-in of docs/adding-a-page-table.md, from its text: first wrong, as it says, then right."""
        with open(os.path.join(SOURCE, 'docs', 'adding-a-page-table.md'), encoding='utf-8') as f:
            blocks = re.findall(r'```c( \w+)?\n(.*?)```\n', f.read(), re.S)
        text = ''.join(body for tag, body in blocks if not tag)
        wrong, right = (next(body for tag, body in blocks if tag == t) for t in (' wrong', ' right'))
        self.assertEqual(text.count(wrong), 1)
        self.caught('pile', text, 'update-history', 'after some of its stores a page has neither its old nor its new frame')
        so = self.build('pile', text.replace(wrong, right))
        p = quire('check-plugin', so)
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        p = quire('compare', '--plugin', so, '--schemes', 'native,nested/pile,shadow/pile', SYNTH)
        self.assertEqual(p.returncode, 0, p.stderr)

    # ---- wrong ones: each caught, by the case that is about it ----

    def test_loses_a_mapping_on_resize(self):
        self.caught('lost', sown('sorted', ('copy_entries(pt, &h, at, old.count, 1)', 'copy_entries(pt, &h, at, old.count - 1, 1)')),
                    'growth', '(after|while|audit)')

    def test_stores_in_the_wrong_order(self):
        """The count is raised before the entry it counts is there."""
        entry, header = 'rc = store_entry(pt, n, &last);\n', 'rc = store_header(pt, &h);\n'
        old = f'\tif (!rc)\n\t\t{entry}\tif (!rc)\n\t\t{header}\tif (rc || at == n)'
        new = f'\tif (!rc)\n\t\t{header}\tif (!rc)\n\t\t{entry}\tif (rc || at == n)'
        self.caught('order', sown('sorted', (old, new)), 'update-history', 'after some of its stores')

    def test_leaks_without_memory(self):
        old = '\t\tptm_free(pt->mem, h.array, FIRST_ORDER);\n\t}\n\tptm_free(pt->mem, pt->root, 0);\n\treturn rc;'
        self.caught('leak', sown('sorted', (old, old.replace('\tptm_free(pt->mem, pt->root, 0);\n', ''))),
                    'failed-create', 'create whose allocation number 1 fails leaves 1 frames')

    def test_crash_is_no_success(self):
        self.caught('crash', 'static char *volatile nowhere;\n' + sown('sorted', ('\tleaf_lookup(pt, req, w, search);\n', '\tif (req->ad == WALK_AD_FAULT)\n\t\t*nowhere = 1;\n\tleaf_lookup(pt, req, w, search);\n')),
                    'random-operations', r'ended by (signal 11|signal 6|SIGSEGV|the sanitizer)|the process ended')
        self.caught('leave', '#include <unistd.h>\n' + sown('sorted', ('static int sorted_audit(struct pt *pt, const char **why)\n{\n', 'static int sorted_audit(struct pt *pt, const char **why)\n{\n\tif (pt->entries == 9)\n\t\t_exit(0);\n')),
                    'random-operations', 'the process ended before the case did')

    def test_wrong_policies(self):
        self.caught('way', sown('srrip', ('return way;', 'return way + (ways > 8);')), 'inclusion', '(BUG_ON struck|filling)')
        self.caught('memory', sown('srrip', ('\tset_value(state, way, SOON);', '\tstatic unsigned n;\n\n\tset_value(state, way, n++ % 3 ? SOON : LATEST);')),
                    'state', 'the same operations on two arrays')

    def test_wrong_mode(self):
        self.caught('frame', sown('ideal', ('map.mfn.v, map.order, map.rights);', 'map.mfn.v ^ 1, map.order, map.rights);')),
                    'digest (ideal)', '')

    # ---- what is no plug-in, or not one of this Quire's ----

    def test_no_plugin(self):
        for args in [['check-plugin'], ['run', SYNTH, '--plugin'], ['list', '--plugin']]:
            self.refused(3, r'missing\.so: No such file', *args, 'missing.so')
            self.refused(3, r'README\.md: no shared object', *args, 'README.md')
        self.refused(3, r'exports no quire_plugin', 'check-plugin', self.build('empty', 'int nothing_of_ours;\n'))
        p = compile_so('wants', 'extern int no_such_service(void);\nint f(void);\nint f(void) { return no_such_service(); }\n')
        self.assertIn('no_such_service', p.stderr)
        self.assertNotEqual(p.returncode, 0)
        so = self.build('wants', 'extern int no_such_service(void);\nint f(void);\nint f(void) { return no_such_service(); }\n', defs=False)
        self.refused(3, r'wants\.so: cannot be loaded: .*no_such_service', 'check-plugin', so)

    def test_other_version(self):
        head = '#include "plug/plugin.h"\nconst struct quire_plugin quire_plugin __attribute__((visibility("default"))) = '
        self.refused(3, r'version 99 of the interface, and this Quire has version \d+', 'check-plugin', self.build('abi', head + '{ .abi = 99 };\n'))
        self.refused(3, r'structs have other sizes', 'check-plugin', self.build('sizes', head + '{ .abi = QUIRE_PLUGIN_ABI };\n'))
        self.refused(3, r'incomplete or brings nothing', 'check-plugin',
                     self.build('nothing', '#include "plug/plugin.h"\nQUIRE_PLUGIN("nothing", .orgs = NULL);\n'))

    def test_names(self):
        self.refused(2, r'taken\.so: the name of organisation radix is taken', 'check-plugin',
                     self.build('taken', sown('sorted', ('.name = "sorted"', '.name = "radix"'))))
        again = self.build('again', example('sorted'))
        self.refused(2, r'again\.so: the name of organisation sorted is taken', 'list', '--plugin', './sorted.so', '--plugin', again)
        self.refused(2, r'twice\.so: the name of organisation sorted is taken', 'list', '--plugin',
                     self.build('twice', sown('sorted', ('QUIRE_PLUGIN_ORGS(&sorted_org)', 'QUIRE_PLUGIN_ORGS(&sorted_org, &sorted_org)'))))
        self.refused(3, r"odd\.so: organisation 'so\+rted': a name is letters", 'check-plugin',
                     self.build('odd', sown('sorted', ('.name = "sorted"', '.name = "so+rted"'))))
        self.refused(2, 'the name of TLB policy lru is taken', 'check-plugin',
                     self.build('lru', sown('srrip', ('.name = "srrip",\n\t.summary', '.name = "lru",\n\t.summary'))))
        self.refused(2, 'the name of mode native is taken', 'check-plugin',
                     self.build('native', sown('ideal', ('.name = "ideal"', '.name = "native"'))))

    def test_incomplete(self):
        self.refused(3, r"organisation sorted has no function 'protect'", 'check-plugin',
                     self.build('less', sown('sorted', ('\t.protect = sorted_protect,\n', '\t.options = { NULL },\n')) +
                                'int (*kept)(struct pt *, struct pt_key, unsigned, uint8_t) = sorted_protect;\n'))
        self.refused(3, 'preset srrip: the number of sets must be a power of two', 'check-plugin',
                     self.build('sets', sown('srrip', ('.nested = LRU(16, 4)', '.nested = LRU(15, 4)'))))
        self.refused(3, 'preset srrip: it names a policy that the plug-in does not bring', 'check-plugin',
                     self.build('own', sown('srrip', ('QUIRE_PLUGIN_POLICY(0)', 'QUIRE_PLUGIN_POLICY(1)'))))

    def test_usage(self):
        self.refused(2, 'check-plugin needs a file', 'check-plugin')
        self.refused(2, 'takes one file', 'check-plugin', 'a.so', 'b.so')
        self.refused(2, 'no option', 'check-plugin', '--quick', 'a.so')
        self.refused(2, '--plugin names no file', 'list', '--plugin')
        self.refused(2, '--plugin names no file', 'run', SYNTH, '--plugin')
        self.assertIn('usage: quire check-plugin', quire('check-plugin', '--help').stdout)
        self.assertIn('--plugin=FILE.so', quire('run', '--help').stdout)


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
