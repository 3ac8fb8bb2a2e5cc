"""The measurements of scripts/bench, which builds the programs and calls this."""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import bench_plot
import bench_tools as tools
from bench_rows import rows

ROUNDS = {"quick": 1, "standard": 3, "full": 5}


def measure(row, tool, original, want, base):
    """Seconds, or a text that says why there are none."""
    refusal = tool.refuses(row)
    if refusal:
        return refusal
    with tempfile.TemporaryDirectory(prefix="rft-bench-", dir=base) as folder:
        source = Path(folder) / "source"
        # Hard links to the same files, so that they are in memory once.
        shutil.copytree(original, source, copy_function=os.link)
        try:
            return tool.run(row, source, want, Path(folder))
        except (tools.Failed, OSError) as failed:
            return f"failed: {failed}"


def measure_row(row, used, rounds, base, results):
    """Adds to the results of a row: a list of figures for each tool, or a note why there are none."""
    with tempfile.TemporaryDirectory(prefix="rft-bench-", dir=base) as folder:
        original = Path(folder)
        row.make(original)
        want = tools.digests(original)
        # Round by round, so that all tools meet the same conditions of the machine.
        for _ in range(rounds):
            for tool in used:
                result = results.setdefault(tool.name, {"all": []})
                if "note" in result:
                    continue
                outcome = measure(row, tool, original, want, base)
                if isinstance(outcome, str):
                    result["note"] = outcome
                else:
                    result["all"].append(round(row.value(outcome), 3))
                    result["median"] = statistics.median(result["all"])
                if not tool.refuses(row):
                    shown = outcome if isinstance(outcome, str) else bench_plot.figure(row.value(outcome)) + " " + row.score
                    print(f"  {row.name}: {tool.name}: {shown}", flush=True)


def table(report, names):
    """Lines of a table in Markdown, and the reasons for its empty cells."""
    notes, lines = [], [["work", ""] + names]
    for row in report["rows"]:
        line = [row["work"], row["score"]]
        for name in names:
            result = row["tools"].get(name, {})
            if "note" not in result:
                line.append(bench_plot.figure(result["median"]) if "median" in result else "")
                continue
            note = result["note"] if not result["note"].startswith("failed") else f"{name} {result['note']}"
            if note not in notes:
                notes.append(note)
            line.append(f"({notes.index(note) + 1})")
        lines.append(line)
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    for n, line in enumerate(lines):
        if n == 1:
            yield "| " + " | ".join("-" * max(3, width) for width in widths) + " |"
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
    yield ""
    yield from (f"({n}) {note}" for n, note in enumerate(notes, 1))


def machine(base):
    """The properties of the machine that the figures depend on."""
    cpu = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text()
        cpu = next(line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"system": platform.platform(), "processor": cpu, "cores": os.cpu_count(), "files": str(base)}


def commit():
    """The commit that was built, with a note if its sources were changed since."""
    git = lambda *words: subprocess.run(["git", *words], capture_output=True, text=True)
    changed = git("diff", "--quiet", "HEAD", "--", "src", "benches", "examples", "tests/harness", "Cargo.toml", "Cargo.lock").returncode
    return git("rev-parse", "--short", "HEAD").stdout.strip() + ("-changed" if changed else "")


def begin(args, found, base):
    """The report before the measurements: an empty one, or the one to add to."""
    report = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "machine": machine(base),
        "tools": {tool.name: tool.missing or tool.version for tool in found},
        "rows": [],
    }
    before = args.out / "bench.json"
    if args.add and before.exists():
        old = json.loads(before.read_text())
        for key in ("commit", "machine"):
            if old[key] != report[key]:
                sys.exit(f"scripts/bench: {before} is of another {key}: {old[key]}, now {report[key]}; without --add it is replaced")
        report["rows"] = old["rows"]
    return report


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    extent = parser.add_mutually_exclusive_group()
    for name, meaning in (("quick", "small files, one round: does all work?"), ("full", "more links, five rounds")):
        extent.add_argument(f"--{name}", dest="extent", action="store_const", const=name, help=meaning)
    parser.add_argument("--only", action="append", default=[], help="rows or tools whose name has this in it")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--add", action="store_true", help="to the figures of the bench.json that is there")
    parser.add_argument("--out", type=Path, default=Path("target/bench"))
    parser.add_argument("--dir", type=Path, help="where the files are copied")
    args = parser.parse_args()
    args.extent = args.extent or "standard"
    return args


def chosen(words, all_rows, all_tools):
    """The rows and the tools that `words` name; all rows if they name no row, and all tools if they name no tool."""
    has = lambda name: any(word in name for word in words)
    some = lambda things: [thing for thing in things if has(thing.name)] or things
    if words and not any(has(thing.name) for thing in all_rows + all_tools):
        sys.exit(f"scripts/bench: no row and no tool has {' or '.join(words)} in its name")
    return some(all_rows), some(all_tools)


def main():
    args = arguments()
    base = args.dir or (Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir()))
    with tools.all_tools() as found:
        report = begin(args, found, base)
        for tool in found:
            print(f"{tool.name}: {tool.missing or tool.version}")
        order = list(rows(args.extent))
        measured, used = chosen(args.only, order, [tool for tool in found if not tool.missing])
        known = {row["work"]: row for row in report["rows"]}
        for row in measured:
            facts = {"work": row.name, "score": row.score, "limit": row.limit(), "tools": {}}
            facts = known.setdefault(row.name, facts)
            measure_row(row, used, args.rounds or ROUNDS[args.extent], base, facts["tools"])
    names = [row.name for row in order]
    report["rows"] = sorted(known.values(), key=lambda row: names.index(row["work"]) if row["work"] in names else 99)
    names = [tool.name for tool in found if any(tool.name in row["tools"] for row in report["rows"])]
    print()
    print("\n".join(table(report, names)))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "bench.svg").write_text(bench_plot.svg(report, names))
    print(f"\nwritten: {args.out}/bench.json, {args.out}/bench.svg")


if __name__ == "__main__":
    main()
