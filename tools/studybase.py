# SPDX-License-Identifier: MIT
"""What the studies share: runs of quire, tables in documents, figures by gnuplot."""
import csv
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Colours that remain apart in print and for most eyes (Okabe and Ito).
COLOURS = {'nested': '#0072b2', 'shadow': '#d55e00', 'agile': '#009e73', 'adaptive': '#000000', 'lazy': '#e69f00',
           'radix': '#0072b2', 'hashed': '#d55e00', 'inverted': '#009e73'}


class Trouble(Exception):
    """Something that ends the study; its text says what to do."""


class Runner:
    """quire compare, several at a time, each with one job: results do not depend on that."""

    def __init__(self, quire, jobs):
        self.quire, self.jobs = os.path.abspath(quire), max(1, jobs or 1)
        self.done = 0

    def _one(self, command):
        line = [self.quire, 'compare', '--quiet', '--jobs', '1', '--json', '-', *command]
        o = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
        if o.returncode:
            raise Trouble(f'quire compare {" ".join(command)}: exit {o.returncode}: {o.stderr.strip()}')
        self.done += 1
        if sys.stderr.isatty():
            print(f'\r{self.done} done', end='', file=sys.stderr, flush=True)
        return {r['scheme']: r for r in json.loads(o.stdout)['runs']}

    def compare(self, commands):
        """Runs by scheme, of each command (a list of arguments), in order."""
        with ThreadPoolExecutor(self.jobs) as pool:
            return list(pool.map(self._one, commands))


def write_csv(path, rows):
    with open(path, 'w', newline='', encoding='utf-8') as f:
        w = csv.DictWriter(f, rows[0].keys(), lineterminator='\n')
        w.writeheader()
        w.writerows({k: f'{v:.6g}' if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def markdown(head, rows):
    lines = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    return '\n'.join(lines + ['| ' + ' | '.join(str(c) for c in row) + ' |' for row in rows])


def put_in(path, name, text):
    """Replaces what stands in a document between <!-- name --> and <!-- end name -->."""
    with open(path, encoding='utf-8') as f:
        document = f.read()
    pattern = re.compile(f'(<!-- {name} -->\n).*?(<!-- end {name} -->)', re.DOTALL)
    if not pattern.search(document):
        raise Trouble(f'{path}: no place for "{name}": it needs <!-- {name} --> and <!-- end {name} -->')
    with open(path, 'w', encoding='utf-8') as f:
        f.write(pattern.sub(lambda m: m[1] + text + '\n' + m[2], document))


def block(name, rows):
    """Data for gnuplot, by name."""
    return f'${name} << EOD\n' + '\n'.join(' '.join(str(c) for c in r) for r in rows) + '\nEOD\n'


def figure(path, size, script):
    """Draws path (SVG): the same bytes for the same script."""
    head = (f"set terminal svg size {size[0]},{size[1]} font 'sans-serif,12' background '#ffffff' "
            f"name '{os.path.basename(path)[:-4].replace('-', '_')}'\n"
            f"set output '{path}'\nset encoding utf8\nset border lc '#444444'\n")
    try:
        o = subprocess.run(['gnuplot'], input=head + script, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Trouble('gnuplot is missing; tools/deps study installs it') from None
    if o.returncode or o.stderr.strip():
        raise Trouble(f'gnuplot, for {path}: {o.stderr.strip()}')


def report(claims):
    """Prints each (held, text); the exit code."""
    for held, text in claims:
        print(('holds: ' if held else 'DOES NOT HOLD: ') + text)
    return 0 if all(held for held, _ in claims) else 1
