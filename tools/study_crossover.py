# SPDX-License-Identifier: MIT
"""Where nested and shadow paging change places; whether agile and adaptive follow (docs/studies/crossover.md)."""
import os

import studybase as sb

SCHEMES = ['nested/radix', 'shadow', 'shadow+lazy', 'agile', 'adaptive']
POLICIES = ['agile', 'adaptive']
MISS = [0.003, 0.01, 0.03, 0.1, 0.3]
CHANGES = [0, 0.00001, 0.0001, 0.0003, 0.001, 0.003]
BOUND = 5.0  # per cent
PHASE = 4  # millions of references
PHASE_MARKS = 8  # half phases
SHORT = ['30K', '300K', '1M', '2M']  # lengths of phases


def text_of(x):
    return f'{x:.5f}'.rstrip('0').rstrip('.') or '0'


def row_of(where, miss, changes, runs):
    cycles = {s: 1000 * r['cycles']['total'] / r['refs'] for s, r in runs.items()}
    better = min(cycles['nested/radix'], cycles['shadow'])
    row = {
        'changes_fall_on': where, 'miss': text_of(miss), 'changes': text_of(changes),
        'tlb_misses_per_1000': 1000 * runs['nested/radix']['tlb']['l2_misses'] / runs['nested/radix']['refs'],
        'table_writes_per_1000': 1000 * runs['shadow']['shadow_faults']['table_write'] / runs['shadow']['refs'],
        'nested_refs_per_walk': runs['nested/radix']['walk_refs_per_walk'],
        'shadow_refs_per_walk': runs['shadow']['walk_refs_per_walk'],
        'shadow_exits_per_1000': 1000 * runs['shadow']['exits']['total'] / runs['shadow']['refs'],
    }
    row |= {f'{s}_cycles_per_1000': cycles[s] for s in SCHEMES}
    row |= {f'{s}_percent_over_better': 100 * (cycles[s] / better - 1) for s in POLICIES}
    return row


def grid(runner, small):
    footprint, counted = ('128M', 1) if small else ('128M', 3)
    miss = [0.003, 0.1] if small else MISS
    changes = [0, 0.0003, 0.001] if small else CHANGES
    windows = [('anywhere', '')] if small else [('anywhere', ''), ('one table', ',pages=512')]
    points = [(w, key, m, c) for w, key in windows for m in miss for c in changes
              if w == 'anywhere' or m in (0.01, 0.1)]


    def warm(miss):
        """Millions. Agile learns from misses: where they are rare it takes more references."""
        return max(2 if small else 6, round(0.02 / miss if small else 0.06 / miss))
    runs = runner.compare([['--schemes', ','.join(SCHEMES), '--warmup', f'{warm(m)}M',
                            f'synth:churn,refs={warm(m) + counted}M,footprint={footprint},miss={text_of(m)}'
                            f',changes={text_of(c)}{key}'] for _, key, m, c in points])
    return [row_of(w, m, c, r) for (w, _, m, c), r in zip(points, runs)]


def phases(runner, small):
    """Cycles of each half phase: those up to its end less those up to its beginning."""
    half, marks = (1500, 4) if small else (PHASE * 500, PHASE_MARKS)
    schemes = [s for s in SCHEMES if s != 'shadow+lazy']
    work = f'synth:churn,refs=100M,footprint=64M,miss=0.1,changes=0.001,phase={2 * half}K'
    runs = runner.compare([['--schemes', ','.join(schemes), '--limit', f'{half * (i + 1)}K', work]
                           for i in range(marks)])
    rows = []
    for i, r in enumerate(runs):
        row = {'half_phase': i + 1, 'kind': 'changes' if i // 2 % 2 else 'misses', 'settled': 'yes' if i % 2 else 'no'}
        for s in schemes:
            before = runs[i - 1][s]['cycles']['total'] if i else 0
            row[f'{s}_cycles_per_1000'] = (r[s]['cycles']['total'] - before) / half
        row['better_cycles_per_1000'] = min(row['nested/radix_cycles_per_1000'], row['shadow_cycles_per_1000'])
        rows.append(row)
    return rows


def short_phases(runner):
    """Whole runs of phases of one length: what learning costs."""
    schemes = ['nested/radix', 'shadow', *POLICIES]
    runs = runner.compare([['--schemes', ','.join(schemes), '--warmup', '4M',
                            f'synth:churn,refs=12M,footprint=64M,miss=0.1,changes=0.001,phase={p}'] for p in SHORT])
    return [{'phase': p} | {f'{s}_cycles_per_1000': 1000 * r[s]['cycles']['total'] / r[s]['refs'] for s in schemes}
            for p, r in zip(SHORT, runs)]


def other_tables(runner, small):
    """Guest tables whose pages cover no stretch of addresses."""
    schemes = ['nested/radix', 'shadow', *POLICIES]
    rates = ((1, 0), (0.01, 0.001)) if small else ((0.1, 0), (0.1, 0.0001), (0.01, 0.001))
    points = [(o, *r) for o in (['inverted'] if small else ['inverted', 'hashed']) for r in rates]
    footprint, refs, warm = ('16M', '3M', '2M') if small else ('16M', '14M', '11M')
    runs = runner.compare([['--schemes', ','.join(schemes), '--guest-pt', o, '--warmup', warm,
                            f'synth:churn,refs={refs},footprint={footprint},miss={text_of(m)},changes={text_of(c)}']
                           for o, m, c in points])
    rows = []
    for (o, m, c), r in zip(points, runs):
        cycles = {s: 1000 * r[s]['cycles']['total'] / r[s]['refs'] for s in schemes}
        better = min(cycles['nested/radix'], cycles['shadow'])
        rows.append({'guest_table': o, 'miss': text_of(m), 'changes': text_of(c)} |
                    {f'{s}_cycles_per_1000': cycles[s] for s in schemes} |
                    {f'{s}_percent_over_better': 100 * (cycles[s] / better - 1) for s in POLICIES})
    return rows


def measure(runner, options):
    return {'grid': grid(runner, options.small), 'phases': phases(runner, options.small),
            'short': [] if options.small else short_phases(runner), 'tables': other_tables(runner, options.small)}


# ---- what is read from it ----

def by_miss(rows, where='anywhere'):
    """{miss: rows by rising rate of changes}"""
    out = {}
    for r in rows:
        if r['changes_fall_on'] == where:
            out.setdefault(r['miss'], []).append(r)
    return out


def crossing(rows):
    """Between which two points shadow becomes the dearer one, and where (both are nearly straight lines); or None."""
    def gap(r):
        return r['shadow_cycles_per_1000'] - r['nested/radix_cycles_per_1000']
    for a, b in zip(rows, rows[1:]):
        if gap(a) <= 0 < gap(b):
            t = -gap(a) / (gap(b) - gap(a))
            return {k: a[k] + t * (b[k] - a[k]) for k in ('tlb_misses_per_1000', 'table_writes_per_1000')} | {
                'changes': float(a['changes']) + t * (float(b['changes']) - float(a['changes'])), 'after': a, 'before': b}
    return None


def excess(row, policy):
    return row[f'{policy}_percent_over_better']


def phase_excess(row, policy):
    return 100 * (row[f'{policy}_cycles_per_1000'] / row['better_cycles_per_1000'] - 1)


def claims(results):
    lines = by_miss(results['grid'])
    cross = [crossing(rows) for rows in lines.values()]
    out = [(all(cross), 'at each rate of misses, shadow is cheaper without changes and nested with many'),
           (all(cross) and all(a['changes'] < b['changes'] for a, b in zip(cross, cross[1:])),
            'the more misses, the more changes shadow bears')]
    for p in POLICIES:
        worst = max(excess(r, p) for r in results['grid'])
        out.append((worst <= BOUND, f'{p} follows the better of the two over the grid: at worst {worst:+.1f} %'))
        worst = max(phase_excess(r, p) for r in results['phases'] if r['settled'] == 'yes')
        out.append((worst <= BOUND, f'{p} follows in the second half of each phase: at worst {worst:+.1f} %'))
    worst = max(excess(r, 'adaptive') for r in results['tables'])
    out.append((worst <= BOUND, f'adaptive follows at the points with guest tables without positions: at worst {worst:+.1f} %'))
    agile = [r for r in results['tables']
             if abs(r['agile_cycles_per_1000'] / r['nested/radix_cycles_per_1000'] - 1) > BOUND / 100]
    out.append((not agile, 'agile costs there what nested does'))
    return out


# ---- what is written ----

def number(x):
    return f'{x:,.2f}' if x < 1 else f'{x:,.1f}' if x < 100 else f'{x:,.0f}'


def table_of_grid(rows):
    head = ['TLB misses', 'table writes', 'nested', 'shadow', 'shadow+lazy', 'agile', 'adaptive', 'agile, % over the better',
            'adaptive']
    return sb.markdown(head, [
        [number(r['tlb_misses_per_1000']), number(r['table_writes_per_1000']),
         *(f'**{r[f"{s}_cycles_per_1000"]:,.0f}**' if s in SCHEMES[:2] and r[f'{s}_cycles_per_1000'] == min(
             r[f'{t}_cycles_per_1000'] for t in SCHEMES[:2]) else f'{r[f"{s}_cycles_per_1000"]:,.0f}' for s in SCHEMES),
         *(f'{excess(r, p):+.1f}' for p in POLICIES)] for r in rows])


def table_of_crossings(rows):
    body = []
    for line in by_miss(rows).values():
        c = crossing(line)
        if c:
            extra = c['after']['nested_refs_per_walk'] - c['after']['shadow_refs_per_walk']
            body.append([number(c['tlb_misses_per_1000']), f'{extra:.2f}', number(c['table_writes_per_1000']),
                         f'{c["tlb_misses_per_1000"] / c["table_writes_per_1000"]:,.0f}'])
    return sb.markdown(['TLB misses per 1,000 references', 'loads that shadow saves a miss',
                        'table writes per 1,000 references at the crossing', 'misses that pay for one table write'], body)


def table_of_following(rows):
    """All points, and those at which choosing matters: where nested and shadow differ by more than the bound."""
    def differ(r):
        a, b = sorted(r[f'{s}_cycles_per_1000'] for s in SCHEMES[:2])
        return b > a * (1 + BOUND / 100)
    body = []
    for where in ('anywhere', 'one table'):
        here = [r for r in rows if r['changes_fall_on'] == where]
        for p in POLICIES:
            all_of, hard = [excess(r, p) for r in here], [excess(r, p) for r in here if differ(r)]
            body.append([where, p, len(all_of), f'{max(all_of):+.1f}', len(hard), f'{max(hard):+.1f}', f'{min(all_of):+.1f}'])
    return sb.markdown(['changes fall', 'scheme', 'points', 'at worst, % over the better',
                        f'points where the two differ by over {BOUND:.0f} %', 'at worst there', 'at best'], body)


def table_of_phases(rows):
    return sb.markdown(['half phase', 'work', 'nested', 'shadow', 'agile', 'adaptive', 'agile, % over the better', 'adaptive'], [
        [r['half_phase'], r['kind'] + (', settled' if r['settled'] == 'yes' else ', from the change on'),
         *(f'{r[f"{s}_cycles_per_1000"]:,.0f}' for s in ('nested/radix', 'shadow', *POLICIES)),
         *(f'{phase_excess(r, p):+.1f}' for p in POLICIES)] for r in rows])


def table_of_short(rows):
    def over(r, p):
        return 100 * (r[f'{p}_cycles_per_1000'] / min(r[f'{s}_cycles_per_1000'] for s in SCHEMES[:2]) - 1)
    return sb.markdown(['phases of', 'nested', 'shadow', 'agile', 'adaptive', 'agile, % over the better one kept', 'adaptive'], [
        [r['phase'], *(f'{r[f"{s}_cycles_per_1000"]:,.0f}' for s in ('nested/radix', 'shadow', *POLICIES)),
         *(f'{over(r, p):+.1f}' for p in POLICIES)] for r in rows])


def table_of_tables(rows):
    return sb.markdown(['guest table', '`miss=`', '`changes=`', 'nested', 'shadow', 'agile', 'adaptive', 'agile, % over the better', 'adaptive'], [
        [r['guest_table'], r['miss'], r['changes'],
         *(f'{r[f"{s}_cycles_per_1000"]:,.0f}' for s in ('nested/radix', 'shadow', *POLICIES)),
         *(f'{excess(r, p):+.1f}' for p in POLICIES)] for r in rows])


def draw_map(rows, path):
    """The grid by ratio; over it where the two cost the same."""
    lines = list(by_miss(rows).values())
    cells, curve = [], []
    for y, line in enumerate(lines):
        seen = [r for r in line if r['changes'] != '0']
        cells += [(x, y, f'{r["shadow_cycles_per_1000"] / r["nested/radix_cycles_per_1000"]:.4f}') for x, r in enumerate(seen)]
        c = crossing(line)
        # Left of the first column there is no place for it.
        at = seen.index(c['after']) if c and c['after'] in seen else None
        if at is not None:
            lo, hi = float(seen[at]['changes']), float(seen[at + 1]['changes'])
            curve.append((f'{at + (c["changes"] - lo) / (hi - lo):.4f}', y))
    first = [r for r in lines[0] if r['changes'] != '0']
    xtics = ', '.join(f"'{number(r['table_writes_per_1000'])}' {i}" for i, r in enumerate(first))
    ytics = ', '.join(f"'{number(line[0]['tlb_misses_per_1000'])}' {i}" for i, line in enumerate(lines))
    sb.figure(path, (760, 470), sb.block('cells', cells) + sb.block('curve', curve) + f'''
set key outside bottom center
set title 'Cycles under shadow, as a multiple of those under nested/radix'
set xlabel 'writes to guest tables per 1,000 references'
set ylabel 'TLB misses per 1,000 references'
set xtics ({xtics}) scale 0
set ytics ({ytics}) scale 0
set logscale cb
set cbrange [0.25:4]
set cbtics ('1/4' 0.25, '1/2' 0.5, '1' 1, '2' 2, '4 and more' 4)
set palette defined (0 '{sb.COLOURS["shadow"]}', 0.5 '#ffffff', 1 '{sb.COLOURS["nested"]}')
set xrange [-0.5:{len(first) - 0.5}]
set yrange [-0.5:{len(lines) - 0.5}]
set label 'shadow is cheaper' at 0.0,{len(lines) - 0.7} left front
set label 'nested is cheaper' at {len(first) - 0.6},-0.3 right front
plot $cells using 1:2:3 with image pixels notitle, \\
     $cells using 1:2:(sprintf('%.2f', $3)) with labels notitle, \\
     $curve using 1:2 with linespoints lw 3 pt 7 ps 0.6 lc '#000000' title 'both cost the same'
''')


def draw_following(rows, path):
    """One rate of misses: all schemes as changes rise, wherever they fall and on one table."""
    script = f'''
set multiplot layout 1,2 title 'Cycles per reference, 100 in 1,000 to random pages'
set logscale x
set logscale y
set xrange [0.008:8]
set yrange [8:60]
set ytics (8, 10, 15, 20, 30, 40, 60)
set xlabel 'table writes per 1,000 references'
set key top left
'''
    for where, title in (('anywhere', 'changes fall anywhere'), ('one table', 'changes fall on one leaf table')):
        name = where.replace(' ', '_')
        line = [r for r in by_miss(rows, where)['0.1'] if r['changes'] != '0']
        script += sb.block(name, [[f'{r["table_writes_per_1000"]:.5f}'] + [f'{r[f"{s}_cycles_per_1000"] / 1000:.4f}' for s in SCHEMES]
                                  for r in line])
        plots = [f"${name} using 1:{i + 2} with linespoints lw 2 pt {i + 4} ps 0.7 lc '{sb.COLOURS[k]}' title '{s}'"
                 for i, (s, k) in enumerate(zip(SCHEMES, ['nested', 'shadow', 'lazy', 'agile', 'adaptive']))]
        script += f"set title '{title}'\nplot " + ', \\\n  '.join(plots) + '\n'
    sb.figure(path, (920, 430), script + 'unset multiplot\n')


def draw_phases(rows, path):
    schemes = ['nested/radix', 'shadow', *POLICIES]
    data = [[r['half_phase'] - 1] + [f'{r[f"{s}_cycles_per_1000"] / 1000:.4f}' for s in schemes] for r in rows]
    data.append([len(rows)] + data[-1][1:])
    million = PHASE / 2
    plots = [f"$p using ($1*{million}):{i + 2} with steps lw {w} dt {d} lc '{sb.COLOURS[s.split('/')[0]]}' title '{s}'"
             for i, (s, w, d) in enumerate(zip(schemes, (5, 5, 2, 2), (1, 1, 1, 2)))]
    sb.figure(path, (760, 380), sb.block('p', data) + f'''
set title 'Phases: misses without changes, changes without misses, by turns'
set xlabel 'million references'
set ylabel 'cycles per reference'
set yrange [0:22]
set xrange [{PHASE / 2}:{PHASE * PHASE_MARKS // 2}]
set xtics {PHASE}
set grid xtics lc '#cccccc'
set key outside right top
plot ''' + ', \\\n  '.join(plots) + '\n')


def write(results, out):
    document = os.path.join(out, 'crossover.md')
    sb.write_csv(os.path.join(out, 'crossover.csv'), results['grid'])
    sb.put_in(document, 'crossings', table_of_crossings(results['grid']))
    for where in ('anywhere', 'one table'):
        sb.put_in(document, f'grid {where}', table_of_grid([r for r in results['grid'] if r['changes_fall_on'] == where]))
    sb.put_in(document, 'following', table_of_following(results['grid']))
    sb.put_in(document, 'phases', table_of_phases(results['phases']))
    sb.put_in(document, 'short phases', table_of_short(results['short']))
    sb.put_in(document, 'other tables', table_of_tables(results['tables']))
    draw_map(results['grid'], os.path.join(out, 'crossover-map.svg'))
    draw_following(results['grid'], os.path.join(out, 'crossover-following.svg'))
    draw_phases(results['phases'], os.path.join(out, 'crossover-phases.svg'))
