# Distributions as an SVG picture: for each series the part of values that are at most x, x on a
# logarithmic scale. It knows nothing of what is measured.

import html
import math

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BOTTOM = 64, 250, 44, 52
COLOURS = ["#1b6ca8", "#d1495b", "#2e933c", "#8d5a97", "#e08e1a", "#4a4a4a"]
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

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="26" font-size="15">{html.escape(title)}</text>']
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
        y = TOP + 12 + 20 * number
        out.append(f'<line x1="{WIDTH - RIGHT + 16}" y1="{y}" x2="{WIDTH - RIGHT + 40}" y2="{y}" '
                   f'stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 46}" y="{y + 4}">{html.escape(name)}</text>')
    out.append("</svg>")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(out) + "\n")
