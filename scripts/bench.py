"""The measurements of scripts/bench, which builds what they need and calls this."""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import bench_plot
import bench_tools as tools

MB = 1_000_000
# UDP payload bytes per second of a link, so that IP packets with 28 bytes of headers fill the rate.
PAYLOAD = 1452 / 1480


class Row:
    """One kind of work: files, and the link that they cross."""

    def __init__(self, name, unit, make, amount, link=None, idle=False):
        self.name, self.unit, self.make, self.amount = name, unit, make, amount
        self.link, self.idle = link, idle

    def score(self, seconds):
        """What is shown: milliseconds as they are, else so much a second."""
        return seconds * 1000 if self.unit == "ms" else self.amount / seconds


class Link:
    """An emulated link: bits per second, round trip in milliseconds, percent lost each way."""

    def __init__(self, mbit, rtt, loss):
        self.mbit, self.rtt, self.loss = mbit, rtt, loss

    def __str__(self):
        return f"{self.mbit} Mbit/s, {self.rtt} ms, {self.loss:g} %"

    def relay_arguments(self):
        return [str(int(self.mbit * 1e6 / 8 * PAYLOAD)), f"{self.rtt // 2}", f"{self.loss}"]


def random_file(size):
    def make(folder):
        with open(folder / "big", "wb") as file:
            for at in range(0, size, MB):
                file.write(os.urandom(min(MB, size - at)))
    return make


def text_file(size):
    """Text from the project's own documents and sources, its lines shuffled; it repeats only far apart."""
    def make(folder):
        root = Path(__file__).parent.parent
        paths = [*root.glob("docs/*.md"), *root.glob("src/**/*.rs"), *root.glob("tests/**/*.rs")]
        lines = [line for path in sorted(paths) for line in path.read_text().splitlines(keepends=True) if line.strip()]
        dice = random.Random(1)
        block = "".join(dice.choices(lines, k=min(size, 16 << 20) // 20)).encode()
        with open(folder / "text", "wb") as file:
            while file.tell() < size:
                file.write(block[: size - file.tell()])
    return make


def small_files(count, size, folders):
    def make(folder):
        for n in range(count):
            into = folder / f"folder{n % folders:03}"
            if n < folders:
                into.mkdir()
            (into / f"file{n:05}").write_bytes(os.urandom(size))
    return make


def rows(quick):
    big = (128 if quick else 1024) << 20
    few = 10 if quick else 1
    far = (20 if quick else 100) * MB
    yield Row("one big file", "MB/s", random_file(big), big / MB)
    yield Row("one big text", "MB/s", text_file(big), big / MB)
    yield Row(f"{10_000 // few:,} x 4 KiB", "files/s", small_files(10_000 // few, 4096, 100), 10_000 // few)
    yield Row(f"{1000 // few:,} x 100 KiB", "MB/s", small_files(1000 // few, 100 << 10, 10), 1000 // few * 0.1024)
    yield Row("1 KB", "ms", random_file(1000), 1, idle=True)
    for loss in [0, 1, 5] if quick else [0, 0.1, 1, 2, 5]:
        link = Link(100, 50, loss)
        yield Row(f"{far // MB} MB over {link}", "MB/s", random_file(far), far / MB, link)
    link = Link(20, 50, 0)
    yield Row(f"{far // MB // 2} MB of text over {link}", "MB/s", text_file(far // 2), far / MB / 2, link)
    yield Row(f"1 KB over {Link(100, 50, 0)}", "ms", random_file(1000), 1, Link(100, 50, 0), idle=True)


def measure(row, tool, base):
    """Seconds, or a text that says why there are none."""
    refusal = tool.refuses(row)
    if refusal:
        return refusal
    with tempfile.TemporaryDirectory(prefix="rft-bench-", dir=base) as folder:
        source = Path(folder) / "source"
        source.mkdir()
        row.make(source)
        try:
            return tool.run(row, source, Path(folder))
        except tools.Failed as failed:
            return f"failed: {failed}"


def table(results, names):
    widths = [max([len("work")] + [len(row["work"]) for row in results])] + [max(16, len(name)) for name in names]
    line = lambda cells: "  ".join(str(cell)[:width].ljust(width) for cell, width in zip(cells, widths)).rstrip()
    yield line(["work"] + names)
    for row in results:
        cells = []
        for name in names:
            found = row["tools"].get(name, {})
            cells.append(f"{found['median']:,.4g} {row['unit']}" if "median" in found else found.get("note", "-"))
        yield line([row["work"]] + cells)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--out", type=Path, default=Path("target/bench"))
    parser.add_argument("--dir", type=Path)
    args = parser.parse_args()
    base = args.dir or (Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir()))
    rounds = args.rounds or (1 if args.quick else 3)

    with tools.all_tools() as found:
        for tool in found:
            print(f"{tool.name}: {tool.missing or tool.version}")
        used = [tool for tool in found if not tool.missing]
        wanted = lambda name: not args.only or any(word in name for word in args.only)
        tool_names = any(word in tool.name for word in args.only for tool in used)
        row_names = any(word in row.name for word in args.only for row in rows(args.quick))
        used = [tool for tool in used if not tool_names or wanted(tool.name)]
        results = []
        for row in rows(args.quick):
            if row_names and not wanted(row.name):
                continue
            scores, notes = {}, {}
            # Round by round, so that all tools meet the same moods of the machine.
            for _ in range(rounds):
                for tool in used:
                    if tool.name in notes:
                        continue
                    outcome = measure(row, tool, base)
                    if isinstance(outcome, str):
                        notes[tool.name] = outcome
                    else:
                        scores.setdefault(tool.name, []).append(row.score(outcome))
                    shown = outcome if isinstance(outcome, str) else f"{row.score(outcome):,.4g} {row.unit}"
                    print(f"  {row.name}: {tool.name}: {shown}", flush=True)
            tools_of = {name: {"median": statistics.median(all), "all": all} for name, all in scores.items()}
            tools_of.update({name: {"note": note} for name, note in notes.items()})
            results.append({"work": row.name, "unit": row.unit, "loss": row.link.loss if row.link else None, "tools": tools_of})

    names = [tool.name for tool in used]
    print()
    print("\n".join(table(results, names)))
    args.out.mkdir(parents=True, exist_ok=True)
    report = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "files": str(base)},
        "rounds": rounds,
        "tools": {tool.name: tool.missing or tool.version for tool in found},
        "rows": results,
    }
    (args.out / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "bench.svg").write_text(bench_plot.svg(report, names))
    print(f"\nwritten: {args.out}/bench.json, {args.out}/bench.svg")


if __name__ == "__main__":
    main()
