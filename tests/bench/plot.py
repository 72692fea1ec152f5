# SVG pictures: distributions (for each series the part of values that are at most x, x on a
# logarithmic scale) and grouped bars. It knows nothing of what is measured.

import html
import math
import textwrap

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BOTTOM = 64, 250, 44, 52
COLOURS = ["#1b6ca8", "#d1495b", "#2e933c", "#8d5a97", "#e08e1a", "#4a4a4a", "#17a2a2", "#b5a300",
           "#c77ba8", "#7a5230", "#9fb8d0", "#7fb069"]
PANEL_HEIGHT, PANEL_GAP = 150, 60
NOTE_COLUMNS = 120
POINTS_MAX = 400


def cumulative(series, title, unit, path):
    """`series`: {name: values above 0}."""
    series = {name: sorted(values) for name, values in series.items() if values}
    low = math.floor(math.log10(min(values[0] for values in series.values())))
    high = math.ceil(math.log10(max(values[-1] for values in series.values())))
    high = max(high, low + 1)
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(value, part):
        x = LEFT + across * (math.log10(value) - low) / (high - low)
        return f"{x:.1f},{TOP + down * (1 - part):.1f}"

    out = head_of(title, HEIGHT)
    for power in range(low, high + 1):
        x = LEFT + across * (power - low) / (high - low)
        out.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{TOP + down}" stroke="#ddd"/>')
        out.append(f'<text x="{x:.1f}" y="{TOP + down + 18}" text-anchor="middle">'
                   f'{10 ** power:g}</text>')
    for part in (0, 0.25, 0.5, 0.75, 1):
        y = TOP + down * (1 - part)
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + across}" y2="{y:.1f}" '
                   'stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{part:.0%}</text>')
    out.append(f'<text x="{LEFT + across / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
               f'{html.escape(unit)}</text>')
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        step = max(1, len(values) // POINTS_MAX)
        points = [place(values[at], (at + 1) / len(values))
                  for at in [*range(0, len(values), step), len(values) - 1]]
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" '
                   f'points="{" ".join(points)}"/>')
        out.append(legend(number, name))
    save(out, path)


def head_of(title, height):
    return [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            f'<text x="{LEFT}" y="26" font-size="15">{html.escape(title)}</text>']


def legend(number, name):
    x, y = WIDTH - RIGHT + 16, TOP + 12 + 20 * number
    return (f'<line x1="{x}" y1="{y}" x2="{x + 24}" y2="{y}" '
            f'stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="6"/>'
            f'<text x="{x + 30}" y="{y + 4}">{html.escape(name)}</text>')


def save(out, path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join([*out, "</svg>"]) + "\n")


class Scale:
    """Of a panel's bars: from 0, or from a power of ten if the values are too far apart for that,
    such as latencies with 1 and with 1,000 clients."""

    def __init__(self, values):
        most, least = max(values, default=1) or 1, min(values, default=0)
        self.logarithmic = least > 0 and most / least > 50
        if self.logarithmic:
            low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
            self.ticks = [10 ** power for power in range(low, max(high, low + 1) + 1)]
        else:
            rough = most / 4
            power = 10 ** math.floor(math.log10(rough))
            step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
            self.ticks = [step * number for number in range(math.ceil(most / step) + 1)]

    def part(self, value):
        """Of the height."""
        first, last = self.ticks[0], self.ticks[-1]
        if self.logarithmic:
            return math.log10(max(value, first) / first) / math.log10(last / first)
        return value / last


def bars(title, note, panels, path):
    """`panels`: {title: {group: {series: value}}}, one below the other."""
    series = list(dict.fromkeys(name for groups in panels.values() for values in groups.values()
                                for name in values))
    notes = textwrap.wrap(note, NOTE_COLUMNS)
    below = TOP + len(panels) * (PANEL_HEIGHT + PANEL_GAP)
    height = below + 16 * len(notes)
    out = head_of(title, height)
    for number, (panel, groups) in enumerate(panels.items()):
        out += panel_of(panel, groups, series, TOP + 16 + number * (PANEL_HEIGHT + PANEL_GAP))
    out += [legend(number, name) for number, name in enumerate(series)]
    out += [f'<text x="{LEFT}" y="{below + 16 * number}" font-size="10" fill="#555">'
            f'{html.escape(line)}</text>' for number, line in enumerate(notes)]
    save(out, path)


def panel_of(title, groups, series, top):
    scale = Scale([value for values in groups.values() for value in values.values()])
    across, bottom = WIDTH - LEFT - RIGHT, top + PANEL_HEIGHT
    unit = " (logarithmic)" if scale.logarithmic else ""
    out = [f'<text x="{LEFT}" y="{top - 6}">{html.escape(title + unit)}</text>']
    for tick in scale.ticks:
        y = bottom - PANEL_HEIGHT * scale.part(tick)
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + across}" y2="{y:.1f}" '
                   'stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    wide = across / len(groups)
    bar = wide * 0.85 / len(series)
    for place, (group, values) in enumerate(groups.items()):
        left = LEFT + wide * (place + 0.075)
        out.append(f'<text x="{left + wide * 0.425:.1f}" y="{bottom + 16}" text-anchor="middle">'
                   f'{html.escape(str(group))}</text>')
        for number, name in enumerate(series):
            if name in values:
                tall = PANEL_HEIGHT * scale.part(values[name])
                out.append(f'<rect x="{left + bar * number:.1f}" y="{bottom - tall:.1f}" '
                           f'width="{bar * 0.9:.1f}" height="{tall:.1f}" '
                           f'fill="{COLOURS[number % len(COLOURS)]}"><title>{html.escape(name)}: '
                           f'{values[name]:g}</title></rect>')
    return out
