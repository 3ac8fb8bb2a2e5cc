"""Writes the results as Markdown: for the terminal, README.md and docs/performance.md.

A document has `<!-- bench: NAME -->` and `<!-- bench: end -->` on lines of their own. Everything
between them is replaced.
"""

import textwrap
import time

from plot import figure

END = "<!-- bench: end -->"
WIDTH = 100
README_WORK = ("one file of 1,024 MiB, MTU 1,500", "10,000 files of 4 KiB, MTU 1,500",
               "1,000 files of 100 KiB, MTU 1,500", "one file of 1 KB, MTU 1,500",
               "one file of 1,024 MiB, MTU 9,000", "100 MB, 100 Mbit/s, 50 ms, 1 %")


class MissingMarker(Exception):
    """A document has no place for the tables."""


def better(row, one, other):
    """Whether one value is better than another one."""
    return one < other if row["score"] == "ms" else one > other


def best(row, tools):
    """The name and the median of the best tool of those that users choose between."""
    first = None
    for name, result in row["tools"].items():
        if "median" in result and tools[name]["rival"]:
            if first is None or better(row, result["median"], first[1]):
                first = name, result["median"]
    return first


def value_cell(row, name, tools):
    result = row["tools"].get(name, {})
    if "median" in result:
        text = figure(result["median"])
        return f"**{text}**" if best(row, tools)[0] == name else text
    return f"< {figure(result['below'])}" if "below" in result else ""


def median(values):
    """The middle one, or the lower one of two: a pair of figures of one run stays together."""
    return sorted(values)[(len(values) - 1) // 2] if values else None


def cpu_cell(row, name, tools):
    runs = [run["cpu"] for run in row["tools"].get(name, {}).get("runs", []) if "cpu" in run]
    pair = median([(sum(cpu), cpu) for cpu in runs])
    return " + ".join(f"{seconds:.2f}" for seconds in pair[1]) if pair else ""


def ping_cell(row, name, tools):
    runs = [run["ping"] for run in row["tools"].get(name, {}).get("runs", []) if "ping" in run]
    pair = median([(ping[1], ping) for ping in runs])
    return " / ".join(figure(one) for one in pair[1]) if pair else ""


def markdown(lines, padded=False):
    """A table. `padded` aligns the columns for a terminal."""
    widths = [max(len(line[at]) for line in lines) if padded else 0 for at in range(len(lines[0]))]
    rule = ["-" * max(3, width) for width in widths]
    for line in [lines[0], rule, *lines[1:]]:
        cells = (cell.ljust(width) for cell, width in zip(line, widths))
        yield ("| " + " | ".join(cells) + " |").replace("|  |", "| |").replace("|  |", "| |")


def columns(rows, names):
    """The tools that have a figure in one of the rows."""
    def measured(name):
        results = [row["tools"].get(name, {}) for row in rows]
        return any("median" in result or "below" in result for result in results)
    return [name for name in names if measured(name)]


def group(report, kind):
    return [row for row in report["rows"] if row["kind"] == kind and has_figures(row)]


def has_figures(row):
    return any("runs" in result for result in row["tools"].values())


def results(rows, tools, padded, cpu=True, names=None):
    """The table of values; below it that of CPU times, or the round trips of mobile links."""
    names = columns(rows, names or tools)
    lines = [["work", "unit", *names]]
    for row in rows:
        unit = "% of the link" if row["score"] == "%" else row["score"]
        lines.append([row["work"], unit, *(value_cell(row, name, tools) for name in names)])
        if row["score"] == "%":
            pings = [ping_cell(row, name, tools) for name in names]
            lines.append(["ping beside it, p50 / p95", "ms", *pings])
    yield from markdown(lines, padded)
    if cpu:
        lines = [["CPU seconds, sender + receiver", *names]]
        for row in rows:
            if row["score"] != "ms":
                cells = (cpu_cell(row, name, tools) for name in names)
                lines.append([row["work"], *cells])
        yield ""
        yield from markdown(lines, padded)


def losses(rows, own, others):
    """The rows in which one of the `others` is ahead of the tool `own`: a text for each."""
    for row in rows:
        mine = row["tools"].get(own, {}).get("median")
        measured = [(name, row["tools"][name]["median"]) for name in others
                    if "median" in row["tools"].get(name, {})]
        if mine is None or not measured:
            continue
        first = measured[0]
        for other in measured[1:]:
            if better(row, other[1], first[1]):
                first = other
        if better(row, first[1], mine):
            yield f"{row['work']} ({first[0]}: {figure(first[1])} {row['score']}, " \
                  f"{own}: {figure(mine)})"


def ahead(lost):
    return f"another tool is ahead in: {'; '.join(lost)}" if lost else "no other tool is ahead"


def behind(rows, tools):
    """What rft loses: to tools that users choose between, as a session that is up and from the
    start of its process, and to those that are shown for comparison."""
    rivals = [name for name, tool in tools.items() if tool["rival"] and not name.startswith("rft")]
    others = [name for name, tool in tools.items() if not tool["rival"]]
    up, cold = list(losses(rows, "rft", rivals)), list(losses(rows, "rft --drain", rivals))
    bare = list(losses(rows, "rft", others))
    yield f"While rft's session is up, {ahead(up)}."
    if any("median" in row["tools"].get("rft --drain", {}) for row in rows):
        yield f"With the start of rft's process counted, as the others' is, {ahead(cold)}."
    if bare:
        yield "Not for users, but faster: " + "; ".join(bare) + "."


def conditions(report):
    """The run, in a sentence."""
    machine = report["machine"]
    when = time.strptime(report["when"][:10], "%Y-%m-%d")
    counts = [len(result["runs"]) for row in report["rows"] for result in row["tools"].values()
              if "runs" in result]
    medians = sorted({min(counts), max(counts)}) if counts else [0]
    system = "-".join(machine["system"].split("-")[:2]).replace("-", " ")
    return (f"Run of {time.strftime('%d %B %Y', when).lstrip('0')}: {machine['cores']} cores of "
            f"{machine['processor']} for both sides, {system}, files in {machine['files']}; "
            f"medians of {' to '.join(str(count) for count in medians)}. Bold: the best of the "
            "tools that users choose between. `< N`: stopped at the time limit, below N.")


def notes(report):
    """What each column is, which tools are missing, and why cells are empty."""
    tools = report["tools"]
    for name, tool in tools.items():
        if not tool["missing"]:
            said = [words for words in (tool["version"], tool["note"]) if words]
            yield f"- `{name}`: {'; '.join(said)}."
    missing = [f"{name} ({tool['missing']})" for name, tool in tools.items() if tool["missing"]]
    if missing:
        yield f"- Missing on this machine: {', '.join(missing)}."
    empty = {}
    for row in report["rows"]:
        for name, result in row["tools"].items():
            if "note" in result:
                where = f" in {row['work']}" if result["note"].startswith("failed") else ""
                empty.setdefault(result["note"] + where, []).append(name)
    for note, names in empty.items():
        yield f"- Empty cells of {', '.join(dict.fromkeys(names))}: {note}."


def wrapped(text):
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False,
                         break_long_words=False)


def everything(report, padded=True):
    """Every table, with notes."""
    tools = report["tools"]
    parts = [wrapped(conditions(report))]
    for kind in ("Ethernet", "Link", "Recording"):
        rows = group(report, kind)
        if rows:
            parts.append("\n".join(results(rows, tools, padded, cpu=kind == "Ethernet")))
    parts.append(wrapped(" ".join(behind(report["rows"], tools))))
    parts.append("\n".join(wrapped(note) for note in notes(report)))
    return "\n\n".join(parts) + "\n"


def headlines(report):
    """The table of README.md."""
    tools = report["tools"]
    rows = [row for row in report["rows"]
            if (row["work"] in README_WORK or row["kind"] == "Recording") and has_figures(row)]
    names = [name for name, tool in tools.items()
             if tool["rival"] and name != "rft --compress never"]
    table = "\n".join(results(rows, tools, False, cpu=False, names=names))
    missing = [name for name in names if tools[name]["missing"]]
    said = f" Not installed there: {', '.join(missing)}." if missing else ""
    return "\n\n".join([wrapped(conditions(report)), table,
                        wrapped(" ".join(behind(rows, tools)) + said)]) + "\n"


def replaced(text, name, block):
    """The document with `block` between its markers."""
    start = f"<!-- bench: {name} -->"
    before, found, rest = text.partition(start + "\n")
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise MissingMarker(f"no {start} with a {END} after it")
    return f"{before}{start}\n\n{block}\n{END}{after}"


def write(report, root):
    """Writes the tables into the documents; returns their paths."""
    for path, name, block in ((root / "README.md", "headlines", headlines(report)),
                              (root / "docs/performance.md", "results", everything(report, False))):
        path.write_text(replaced(path.read_text(), name, block))
        yield path
