# SPDX-License-Identifier: MIT
"""Radix against hashed and inverted tables, with and without walk caches and data caches (docs/studies/tables.md)."""
import os
import shlex

import studybase as sb

ORGS = ['radix', 'hashed', 'inverted']
# What the walker reads: name, guest's table, scheme.
PLACES = {
    'native': [(o, o, 'native') for o in ORGS],
    'p2m': [(o, 'radix', f'nested/{o}') for o in ORGS],
    'both': [(o, o, f'nested/{o}') for o in ORGS],
}
MACHINES = {'on': 'generic', 'off': 'machines/no-walk-caches.yaml'}
CACHES = {'off': [], 'on': ['--caches', 'generic']}
WORKS = {
    'sequential': 'synth:stream,stride=4K,footprint=64M,refs=500K',
    'popular': 'synth:zipf,footprint=128M,refs=1M',
    'random': 'synth:gups,footprint=128M,refs=600K',
    'scattered': 'synth:chase,stride=64K,footprint=1G,refs=300K',
    'lone': 'synth:chase,stride=2M,footprint=32G,refs=300K',
}
WARM = {'sequential': '100K', 'popular': '500K', 'random': '400K', 'scattered': '100K', 'lone': '100K'}
DENSE = ('sequential', 'popular', 'random')
SMALL = {
    'random': 'synth:gups,footprint=128M,refs=400K',
    'lone': 'synth:chase,stride=2M,footprint=8G,refs=40K',
}
SMALL_WARM = {'random': '200K', 'lone': '10K'}
LIMIT = '20M'  # of a recorded program
CONDITIONS = [(w, d) for d in CACHES for w in MACHINES]


def row_of(work, walk, data, place, org, r):
    return {
        'work': work, 'walk_caches': walk, 'data_caches': data, 'place': place, 'table': org,
        'loads_per_walk': r['walk_refs_per_walk'],
        'memory_per_walk': r['caches']['table']['memory'] / max(r['walks'], 1) if 'caches' in r else '',
        'cycles_per_walk': r['cycles']['translation'] / max(r['walks'], 1),
        'walks_per_1000': 1000 * r['walks'] / r['refs'],
        'translation_percent': 100 * r['cycles']['translation'] / r['cycles']['total'],
        'cycles_per_1000': 1000 * r['cycles']['total'] / r['refs'],
        'table_bytes': r['memory']['guest_table_bytes'] + r['memory']['vmm_table_bytes'],
    }


def matrix(runner, works, options_of):
    """Each work under each condition; one run of quire for each table of the guest's."""
    points = [(work, w, d, g) for work in works for w, d in CONDITIONS for g in ORGS]
    runs = runner.compare([['--schemes', ','.join(['native'] + [f'nested/{o}' for o in (ORGS if g == 'radix' else [g])]),
                            '--guest-pt', g, '--machine', MACHINES[w], *CACHES[d], *options_of(work),
                             *([works[work]] if works[work] else ['--', *shlex.split(work)])]
                           for work, w, d, g in points])
    found = {p: r for p, r in zip(points, runs)}
    return [row_of(work, w, d, place, org, found[work, w, d, g][scheme])
            for work in works for w, d in CONDITIONS for place in PLACES for org, g, scheme in PLACES[place]]


def recorded(runner, program):
    """The program, recorded anew for each run: nearly the same references each time."""
    return matrix(runner, {program: None}, lambda work: ['--limit', LIMIT])


def measure(runner, options):
    warm, works, memory = (SMALL_WARM, SMALL, '256M') if options.small else (WARM, WORKS, '1G')
    results = {'matrix': matrix(runner, works, lambda work: ['--guest-mem', memory, '--warmup', warm[work]])}
    if options.program:
        results['program'] = recorded(runner, options.program)
    return results


# ---- what is read from it ----

def find(rows, work, walk, data, place, org, what='cycles_per_walk'):
    return next(r[what] for r in rows if (r['work'], r['walk_caches'], r['data_caches'], r['place'], r['table']) ==
                (work, walk, data, place, org))


def gain(rows, work, walk, data, place, org):
    """What a table saves of all cycles against radix in the same place, per cent."""
    of = [find(rows, work, walk, data, place, o, 'cycles_per_1000') for o in ('radix', org)]
    return 100 * (of[0] / of[1] - 1)


def claims(results):
    rows = results['matrix']
    works = list(dict.fromkeys(r['work'] for r in rows))
    out = [(all(find(rows, w, 'on', 'on', 'native', 'radix', 'memory_per_walk') <
                find(rows, w, 'on', 'on', 'native', 'inverted', 'memory_per_walk') for w in works if w in DENSE),
            'native: for dense work radix with walk caches goes to memory less often than the inverted table (Barr et al.)')]
    for place in PLACES:
        out.append((all(find(rows, w, 'on', 'on', place, 'radix') < find(rows, w, 'on', 'on', place, 'inverted') for w in works
                        if w != 'lone'),
                    f'{place}: radix with walk caches beats the inverted table, data caches on (Barr et al.), but for lone pages'))
        out.append((find(rows, 'random', 'off', 'off', place, 'inverted') < find(rows, 'random', 'off', 'off', place, 'radix'),
                    f'{place}: without walk caches and at one price a load the inverted table beats radix'))
        out.append((all(find(rows, w, 'off', d, place, 'hashed') < find(rows, w, 'off', d, place, 'radix')
                        for w in works for d in CACHES if w == 'random' or d == 'off'),
                    f'{place}: without walk caches the hashed table beats radix'))
    for place in ('native', 'both'):
        out.append((all(find(rows, 'lone', 'on', d, place, 'hashed') < find(rows, 'lone', 'on', d, place, 'radix') for d in CACHES),
                    f'{place}: for lone pages the hashed table beats radix with all its caches (Yaniv and Tsafrir)'))
    out.append((find(rows, 'random', 'on', 'on', 'native', 'radix') < find(rows, 'random', 'on', 'on', 'native', 'hashed'),
                'native: for dense random pages radix with all its caches beats the hashed table'))
    return out


# ---- what is written ----

HEAD_OF = {'native': 'native', 'p2m': 'p2m, guest radix', 'both': 'guest and p2m'}


def table_of(rows, what, form, conditions=tuple(CONDITIONS)):
    head = ['work', 'walk caches', 'data caches'] + [f'{HEAD_OF[p]}: {o}' for p in PLACES for o in ORGS]
    body = []
    for work in dict.fromkeys(r['work'] for r in rows):
        for w, d in conditions:
            line = [work, w, d]
            for place in PLACES:
                values = [find(rows, work, w, d, place, o, what) for o in ORGS]
                line += [f'**{form(v)}**' if v == min(values) else form(v) for v in values]
            body.append(line)
    return sb.markdown(head, body)


def table_of_gains(rows):
    body = []
    for work in dict.fromkeys(r['work'] for r in rows):
        body.append([work] + [f'{gain(rows, work, w, d, place, org):+.1f}' for place in ('native', 'both')
                              for org in ('hashed', 'inverted') for w, d in (('on', 'on'), ('on', 'off'), ('off', 'on'))])
    head = ['work'] + [f'{p}: {o}, {c}' for p in ('native', 'nested') for o in ('hashed', 'inverted')
                       for c in ('all caches', 'walk caches only', 'data caches only')]
    return sb.markdown(head, body)


def draw(rows, path):
    """A panel for each condition; in it a group of bars for each work, native and nested."""
    works = list(dict.fromkeys(r['work'] for r in rows))
    script = '''
set multiplot layout 2,2 title 'Cycles of a TLB miss'
set style data histograms
set style histogram clustered gap 1.5
set style fill solid border -1
set logscale y
set yrange [5:2000]
set grid ytics lc '#cccccc'
set xtics rotate by -25 scale 0
set key top left horizontal
'''
    for w, d in CONDITIONS:
        data = []
        for work in works:
            for place, sign in (('native', ''), ('both', ' nested')):
                data.append([f'"{work}{sign}"'] + [f'{find(rows, work, w, d, place, o):.2f}' for o in ORGS])
        name = f'{w}_{d}'
        script += sb.block(name, data)
        script += f"set title 'walk caches {w}, data caches {d}'\nplot " + ', \\\n '.join(
            f"${name} using {i + 2}{':xtic(1)' if not i else ''} lc '{sb.COLOURS[o]}' title '{o}'" for i, o in enumerate(ORGS)) + '\n'
    sb.figure(path, (1080, 760), script + 'unset multiplot\n')


def write(results, out):
    document = os.path.join(out, 'tables.md')
    rows = results['matrix']
    sb.write_csv(os.path.join(out, 'tables.csv'), rows)
    sb.put_in(document, 'cycles', table_of(rows, 'cycles_per_walk', '{:,.0f}'.format))
    # Data caches change no load.
    sb.put_in(document, 'loads', table_of(rows, 'loads_per_walk', '{:.2f}'.format, [(w, 'off') for w in MACHINES]))
    sb.put_in(document, 'memory', table_of(rows, 'memory_per_walk', '{:.2f}'.format, [(w, 'on') for w in MACHINES]))
    sb.put_in(document, 'gains', table_of_gains(rows))
    draw(rows, os.path.join(out, 'tables.svg'))
    if 'program' in results:
        sb.put_in(document, 'program', table_of(results['program'], 'cycles_per_walk', '{:,.0f}'.format))
