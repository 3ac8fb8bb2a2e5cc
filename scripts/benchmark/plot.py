"""Draws the results of scripts/bench.

For each work a bar for each tool, with a line from the lowest to the highest value.
"""

from html import escape

# For a light page and for a dark one.
COLOURS = {
    "rft": ("#3b82f6", "#3b82f6"),
    "rft --compress never": ("#a5c4f7", "#2f5596"),
    "bare quinn": ("#8b93a1", "#7b8494"),
}
OTHER = ("#d9a441", "#b98a35")
WIDTH, LEFT, RIGHT, BAR = 860, 168, 112, 14
FONT = """
text { font: 11px system-ui, "DejaVu Sans", sans-serif } .title { font-size: 15px }
.title, .work { font-weight: 600 }
.name { text-anchor: end }
"""
# Classes instead of variables: more programs support them.
PAGE = """
.page {{ fill: {0} }} text {{ fill: {1} }} .faint {{ fill: {2} }} .axis {{ stroke: {3} }}
.limit {{ stroke: {2} }} .spread {{ stroke: {1} }}
"""
PAGES = (("#ffffff", "#1f2937", "#5b6472", "#c9ced6"), ("#12161d", "#e5e7eb", "#a3abb8", "#4a5361"))


def figure(value):
    """Three figures, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class Picture:
    """Parts of a picture, from the top down."""

    def __init__(self):
        self.parts, self.y, self.colours = [], 0, {}

    def text(self, x, words, kind=""):
        self.parts.append(f'<text x="{x}" y="{self.y}" class="{kind}">{escape(words)}</text>')

    def bar(self, x, length, kind):
        self.parts.append(f'<rect x="{x}" y="{self.y - BAR + 4}" width="{length:.1f}" '
                          f'height="{BAR - 3}" class="{kind}"/>')

    def line(self, x, x2, y, y2, kind):
        self.parts.append(f'<line x1="{x:.1f}" x2="{x2:.1f}" y1="{y}" y2="{y2}" class="{kind}"/>')

    def colour(self, name):
        """The class of a tool's bars."""
        kind = "c" + "".join(letter for letter in name if letter.isalnum())
        self.colours[kind] = COLOURS.get(name, OTHER)
        return kind

    def style(self):
        light, dark = (PAGE.format(*PAGES[at]) + self.fills(at) for at in (0, 1))
        return f"{FONT}{light}\n@media (prefers-color-scheme: dark) {{{dark}\n}}\n"

    def fills(self, at):
        return "\n".join(f".{kind} {{ fill: {both[at]} }}" for kind, both in self.colours.items())


def values(result):
    return [run["value"] for run in result["runs"]]


def draw_row(picture, row, names):
    """One work: its bars, and the failures as text."""
    found = [(name, row["tools"][name]) for name in names if name in row["tools"]]
    measured = {name: result for name, result in found if "median" in result}
    failed = [(name, result["note"]) for name, result in found
              if result.get("note", "").startswith("failed")]
    failed += [(name, f"below {figure(result['below'])}") for name, result in found
               if "below" in result]
    if not measured and not failed:
        return
    limit = row.get("best")
    most = max([max(values(result)) for result in measured.values()] + [limit or 0, 1e-9])
    scale = (WIDTH - LEFT - RIGHT) / most
    picture.y += 30
    less = " (less is better)" if row["score"] == "ms" else ""
    picture.text(12, f"{row['work']}, {row['score']}{less}", "work")
    picture.y += 4
    top = picture.y
    for name, result in measured.items():
        picture.y += BAR
        picture.text(LEFT - 8, name, "name faint")
        picture.bar(LEFT, max(1, result["median"] * scale), picture.colour(name))
        least, most = min(values(result)), max(values(result))
        least, most = LEFT + least * scale, LEFT + most * scale
        if most - least >= 1:
            picture.line(least, most, picture.y - 5, picture.y - 5, "spread")
        beside = round(max(most, LEFT + 1)) + 6
        # Beside the line of the limit, not across it.
        if limit and beside - 4 < LEFT + limit * scale < beside + 34:
            beside = round(LEFT + limit * scale) + 6
        picture.text(beside, figure(result["median"]))
    for name, note in failed:
        picture.y += BAR
        picture.text(LEFT - 8, name, "name faint")
        picture.text(LEFT + 6, note[:90], "faint")
    picture.line(LEFT, LEFT, top + 2, picture.y + 4, "axis")
    if limit:
        at = LEFT + limit * scale
        picture.line(at, at, top - 3, picture.y + 4, "limit")
        picture.parts.append(f'<text x="{at - 4:.1f}" y="{top - 4}" class="name faint">'
                             f'the link allows {figure(limit)}</text>')


def svg(report):
    """The picture's text."""
    picture = Picture()
    picture.y = 24
    picture.text(12, "rft beside other tools", "title")
    picture.y += 16
    host = report["machine"]
    picture.text(12, f"{report['when'][:10]}, commit {report['commit']}, {host['cores']} cores of "
                     f"{host['processor']}", "faint")
    picture.y += 14
    rounds = sorted({len(result["runs"]) for row in report["rows"]
                     for result in row["tools"].values() if "median" in result})
    medians = sorted({rounds[0], rounds[-1]}) if rounds else [0]
    picture.text(12, f"Medians of {' to '.join(str(count) for count in medians)}; the thin lines "
                     "go from the least to the most. Each work has a scale of its own, from zero.",
                 "faint")
    for row in report["rows"]:
        draw_row(picture, row, list(report["tools"]))
    height = picture.y + 18
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}">\n'
        f"<title>rft beside other tools</title>\n<style>{picture.style()}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" rx="6" class="page"/>\n'
        + "\n".join(picture.parts) + "\n</svg>\n"
    )
