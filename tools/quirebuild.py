# SPDX-License-Identifier: MIT
"""What the scripts of tools/ share: build directories, test lists, counts.

Each configuration has a build directory of its own (build-NAME, ignored by
git), so that a second run only builds what has changed.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Suites of the hypervisor and the model guest: no programs recorded, no command line.
CORE = ('core', 'base', 'machine', 'gpt', 'tlb', 'pt', 'vm', 'mmu', 'guestos')
SKIPPED = 77  # exit code of a test that could not be run, as Meson reads it


class Failed(Exception):
    """A step went wrong; the message is for the reader of the log."""


def say(*words):
    print(*words, flush=True)


def build_dir(name):
    return os.path.join(ROOT, name)


def output_of(cmd, **kw):
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE, text=True, **kw).stdout


def quiet(cmd, what, **kw):
    """Runs cmd; shows its output, but for ninja's steps that went well, only if it fails."""
    done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors='replace', **kw)
    if done.returncode:
        told = [line for line in done.stdout.splitlines() if not re.match(r'\[\d+/\d+\] ', line)]
        say('\n'.join(told)[-12000:])
        raise Failed(f'{what}: exit code {done.returncode}')
    return done.stdout


def setup(directory, options=(), cc=None):
    """Configures directory, or brings it up to date with these options."""
    env = dict(os.environ)
    if cc:
        env['CC'] = cc
    fresh = ['meson', 'setup', directory, ROOT, *options]
    if os.path.exists(os.path.join(directory, 'build.ninja')):
        again = subprocess.run(fresh + ['--reconfigure'], env=env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if again.returncode == 0:
            return
        shutil.rmtree(directory)  # of another Meson, or half made: it can only be made anew
    quiet(fresh, f'meson setup {os.path.basename(directory)}', env=env)


def ninja(directory, targets=()):
    quiet(['ninja', '-C', directory, *targets], f'build of {os.path.relpath(directory, ROOT)}')


# A report of a sanitizer ends the test; leaks count.
SANITIZED = {
    'ASAN_OPTIONS': 'abort_on_error=1:detect_leaks=1:detect_stack_use_after_return=1',
    'UBSAN_OPTIONS': 'halt_on_error=1:abort_on_error=1:print_stacktrace=1',
}


def build_sanitized():
    directory = build_dir('build-asan')
    setup(directory, ['--buildtype=debugoptimized', '-Db_sanitize=address,undefined', '-Dchecks=true'], cc='gcc')
    ninja(directory)
    return directory


def introspect(directory, what):
    return json.loads(output_of(['meson', 'introspect', directory, '--' + what]))


def core_tests(directory):
    """Tests of the suites in CORE, as Meson describes them."""
    return [t for t in introspect(directory, 'tests')
            if any(s.split(':')[-1] in CORE for s in t['suite'])]


def targets_of(directory, tests):
    """Ninja's names of all that these tests run."""
    files = {t['id']: t['filename'] for t in introspect(directory, 'targets')}
    need = {f for t in tests for d in t['depends'] for f in files.get(d, [])}
    return sorted(os.path.relpath(f, directory) for f in need)


def fuzz_targets(directory):
    """libFuzzer's programs of fuzz/, by the name of what they fuzz."""
    fuzz = os.path.join(ROOT, 'fuzz') + os.sep
    return {t['name'].removeprefix('libfuzzer-'): t['filename'][0] for t in introspect(directory, 'targets')
            if t['type'] == 'executable' and t['name'].startswith('libfuzzer-') and t['defined_in'].startswith(fuzz)}


def corpus_of(name):
    """Inputs of a fuzzer that are kept in the repository."""
    folder = os.path.join(ROOT, 'fuzz', 'corpus', name)
    return [os.path.join(folder, f) for f in sorted(os.listdir(folder))] if os.path.isdir(folder) else []


def meson_test(directory, args=(), env=None):
    """Runs the tests of a built directory: (passed, failed, skipped)."""
    log = os.path.join(directory, 'meson-logs', 'testlog.json')
    if os.path.exists(log):
        os.unlink(log)
    done = subprocess.run(['meson', 'test', '-C', directory, '--no-rebuild', '--quiet',
                           '--print-errorlogs', *args],
                          env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace')
    results = []
    if os.path.exists(log):
        with open(log, encoding='utf-8', errors='replace') as f:
            results = [json.loads(line) for line in f if line.strip()]
    good = sum(r['result'] in ('OK', 'EXPECTEDFAIL') for r in results)
    skipped = sum(r['result'] == 'SKIP' for r in results)
    failed = len(results) - good - skipped
    if failed or done.returncode:
        say(done.stdout[-20000:])
        for r in results:
            if r['result'] not in ('OK', 'EXPECTEDFAIL', 'SKIP'):
                say(f"   FAILED {r['name']}: {r['result']} after {r['duration']:.1f} s")
    if not results:
        raise Failed(f'{os.path.relpath(directory, ROOT)}: no test was run')
    return good, max(failed, int(done.returncode != 0)), skipped


class Tally:
    """Named parts of a run: what passed, what failed, how long it took."""

    def __init__(self):
        self.rows = []

    def part(self, title, work):
        """work() returns (passed, failed, skipped), or raises Failed: one failure."""
        say(f'== {title}')
        start = time.monotonic()
        try:
            counts = work()
        except Failed as e:
            say(f'   FAILED {e}')
            counts = (0, 1, 0)
        except (subprocess.CalledProcessError, OSError) as e:
            say(f'   FAILED {e}')
            counts = (0, 1, 0)
        self.rows.append((title, counts, time.monotonic() - start))
        passed, failed, skipped = counts
        say(f'   {passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else '') +
            f', {self.rows[-1][2]:.1f} s')

    def finish(self):
        """Prints the table and the closing line; returns the exit code."""
        say('\n   seconds  passed  failed')
        for title, (passed, failed, _), seconds in self.rows:
            say(f'   {seconds:7.1f}  {passed:6}  {failed:6}  {title}')
        total = [sum(row[1][i] for row in self.rows) for i in range(3)]
        say(f'   {sum(r[2] for r in self.rows):7.1f}  in all\n')
        say(f'{total[0]} passed, {total[1]} failed' + (f', {total[2]} skipped' if total[2] else ''))
        return 1 if total[1] or not total[0] else 0


def script(name, *args):
    """A check that is a program of tools/, as a part of a tally."""
    def work():
        done = subprocess.run([os.path.join(ROOT, 'tools', name), *args], stdin=subprocess.DEVNULL)
        return (1, 0, 0) if done.returncode == 0 else (0, 1, 0)
    return work


def main_guard(main):
    """Runs main; an interrupt ends it without a traceback."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
