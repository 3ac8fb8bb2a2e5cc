"""Draws the results of scripts/bench: for each work a bar for each tool, with a line from the lowest to the highest value."""

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
text { font: 11px system-ui, "DejaVu Sans", sans-serif } .title { font-size: 15px } .title, .work { font-weight: 600 }
.name { text-anchor: end }
"""
# Classes instead of variables: more programs support them.
PAGE = """
.page {{ fill: {0} }} text {{ fill: {1} }} .faint {{ fill: {2} }} .axis {{ stroke: {3} }} .limit {{ stroke: {2} }} .spread {{ stroke: {1} }}
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
        self.parts.append(f'<rect x="{x}" y="{self.y - BAR + 4}" width="{length:.1f}" height="{BAR - 3}" class="{kind}"/>')

    def line(self, x, x2, y, y2, kind):
        self.parts.append(f'<line x1="{x:.1f}" x2="{x2:.1f}" y1="{y}" y2="{y2}" class="{kind}"/>')

    def colour(self, name):
        """The class of a tool's bars."""
        kind = "c" + "".join(letter for letter in name if letter.isalnum())
        self.colours[kind] = COLOURS.get(name, OTHER)
        return kind

    def style(self):
        bars = lambda at: "\n".join(f".{kind} {{ fill: {colours[at]} }}" for kind, colours in self.colours.items())
        light, dark = (PAGE.format(*PAGES[at]) + bars(at) for at in (0, 1))
        return f"{FONT}{light}\n@media (prefers-color-scheme: dark) {{{dark}\n}}\n"


def draw_row(picture, row, names):
    """One work: its bars, and the failures as text."""
    found = [(name, row["tools"][name]) for name in names if name in row["tools"]]
    measured = {name: result for name, result in found if "median" in result and "note" not in result}
    failed = [(name, result["note"]) for name, result in found if result.get("note", "").startswith("failed")]
    if not measured and not failed:
        return
    limit = row.get("limit")
    most = max([max(result["all"]) for result in measured.values()] + [limit or 0, 1e-9])
    scale = (WIDTH - LEFT - RIGHT) / most
    picture.y += 30
    picture.text(12, f"{row['work']}, {row['score']}" + (" (less is better)" if row["score"] == "ms" else ""), "work")
    picture.y += 4
    top = picture.y
    for name, result in measured.items():
        picture.y += BAR
        picture.text(LEFT - 8, name, "name faint")
        picture.bar(LEFT, max(1, result["median"] * scale), picture.colour(name))
        least, best = (LEFT + value * scale for value in (min(result["all"]), max(result["all"])))
        if best - least >= 1:
            picture.line(least, best, picture.y - 5, picture.y - 5, "spread")
        beside = round(max(best, LEFT + 1)) + 6
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
        picture.parts.append(f'<text x="{at - 4:.1f}" y="{top - 4}" class="name faint">the link allows {figure(limit)}</text>')


def svg(report, names):
    """The picture's text."""
    picture = Picture()
    picture.y = 24
    picture.text(12, "rft beside other tools", "title")
    picture.y += 16
    host = report["machine"]
    picture.text(12, f"{report['when'][:10]}, commit {report['commit']}, {host['cores']} cores of {host['processor']}", "faint")
    picture.y += 14
    rounds = sorted({len(result["all"]) for row in report["rows"] for result in row["tools"].values() if result["all"]})
    of = f"Medians of {' to '.join(str(count) for count in sorted({rounds[0], rounds[-1]}))}" if rounds else "Nothing"
    picture.text(12, f"{of}; the thin lines go from the least to the most. Each work has a scale of its own, from zero.", "faint")
    for row in report["rows"]:
        draw_row(picture, row, names)
    height = picture.y + 18
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">\n'
        f"<title>rft beside other tools</title>\n<style>{picture.style()}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" rx="6" class="page"/>\n' + "\n".join(picture.parts) + "\n</svg>\n"
    )
