"""Draws what scripts/bench measured: bars for each work, the best tool full length."""

from html import escape

COLOURS = {"rft": "#2563eb", "rft --compress never": "#93c5fd", "bare quinn": "#9ca3af"}
OTHERS = ["#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#14b8a6", "#ec4899"]
WIDTH, LEFT, BAR, GAP = 860, 190, 13, 14


def svg(report, names):
    """The picture's text."""
    others = [name for name in names if name not in COLOURS]
    colours = {**COLOURS, **{name: OTHERS[n % len(OTHERS)] for n, name in enumerate(others)}}
    parts, y = [], 46
    text = lambda x, y, words, extra="": parts.append(f'<text x="{x}" y="{y}"{extra}>{escape(words)}</text>')
    for row in report["rows"]:
        found = [(name, row["tools"][name]["median"]) for name in names if "median" in row["tools"].get(name, {})]
        if not found:
            continue
        most = max(value for _, value in found)
        y += GAP
        better = ", less is better" if row["unit"] == "ms" else ""
        text(12, y, f"{row['work']} ({row['unit']}{better})", ' font-weight="600"')
        y += 6
        for name, value in found:
            length = max(1, round(value / most * (WIDTH - LEFT - 90)))
            text(LEFT - 8, y + BAR - 3, name, ' text-anchor="end" fill="#4b5563"')
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length}" height="{BAR - 2}" rx="2" fill="{colours[name]}"/>')
            text(LEFT + length + 6, y + BAR - 3, f"{value:,.4g}")
            y += BAR
        y += 4
    machine = report["machine"]
    caption = f"{report['when'][:10]}, commit {report['commit']}, {machine['cores']} cores, median of {report['rounds']}"
    height = y + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        '<text x="12" y="22" font-size="15" font-weight="600">rft beside other tools</text>\n'
        f'<text x="12" y="38" fill="#6b7280">{escape(caption)}</text>\n' + "\n".join(parts) + "\n</svg>\n"
    )
