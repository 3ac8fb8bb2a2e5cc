"""The measurements of scripts/bench, which builds the programs and calls this."""

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import network
import plot
import ssh_tools
import tables
import tools
from measure import measure_row
from rows import ROOT, recordings, rows
from traces import BadTrace

ROUNDS = {"quick": 1, "standard": 3, "full": 5}
SOURCES = ("src", "benches", "crates", "Cargo.toml", "Cargo.lock")
KINDS = (tools.Rft, tools.RftFromStart, tools.RftUncompressed, tools.BareQuinn, ssh_tools.Rsync,
         ssh_tools.RsyncBbr, ssh_tools.Rsyncd, ssh_tools.Scp, ssh_tools.Qcp, tools.Sendme,
         tools.Wormhole, tools.Croc)


def machine(base):
    """The properties of the machine that the figures depend on."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        text = Path("/proc/cpuinfo").read_text()
        names = (line for line in text.splitlines() if line.startswith("model name"))
        cpu = next(names).split(":", 1)[1].strip()
    return {"system": platform.platform(), "processor": cpu, "cores": os.cpu_count(),
            "files": str(base)}


def commit():
    """The last commit that changed the program, with a note if its sources were changed since."""
    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    changed = git("diff", "--quiet", "HEAD", "--", *SOURCES).returncode
    last = git("log", "-1", "--format=%h", "--", *SOURCES).stdout.strip()
    return last + ("-changed" if changed else "")


def begin(args, found, base):
    """The report before the measurements: an empty one, or the one to go on with."""
    report = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "machine": machine(base),
        "tools": {tool.name: {"missing": tool.missing, "version": tool.version, "note": tool.note,
                              "rival": tool.rival} for tool in found},
        "rows": [],
    }
    before = args.out / "bench.json"
    if args.resume and before.exists():
        old = json.loads(before.read_text())
        for key in ("commit", "machine"):
            if old[key] != report[key]:
                sys.exit(f"scripts/bench: {before} is of another {key}: {old[key]}, now "
                         f"{report[key]}; without --resume it is replaced")
        report["rows"] = old["rows"]
        for row in report["rows"]:
            failed = [name for name, result in row["tools"].items()
                      if result.get("note", "").startswith("failed")]
            for name in failed:
                del row["tools"][name]
    return report


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", dest="extent", action="store_const", const="quick",
                        help="small files, one round, two minutes: does all work?")
    extent.add_argument("--full", dest="extent", action="store_const", const="full",
                        help="more links, five rounds")
    parser.add_argument("--only", action="append", default=[], metavar="WORD",
                        help="rows or tools with this in their name")
    parser.add_argument("--rounds", type=int, help="runs of each tool and row")
    parser.add_argument("--traces", type=Path, metavar="DIR",
                        help="recordings of mobile links: pairs NAME.down and NAME.up")
    parser.add_argument("--resume", action="store_true",
                        help="go on with the bench.json there: measure what has too few runs")
    parser.add_argument("--minutes", type=float, default=1e6,
                        help="start no measurement after this time")
    parser.add_argument("--write", action="store_true",
                        help="write the tables into README.md and docs/performance.md")
    parser.add_argument("--out", type=Path, default=ROOT / "target/bench", metavar="DIR")
    parser.add_argument("--dir", type=Path, help="where the files are copied")
    args = parser.parse_args()
    args.extent = args.extent or "standard"
    if args.rounds is None:
        args.rounds = ROUNDS[args.extent]
    return args


def chosen(words, all_rows, all_tools):
    """The rows and tools that `words` name; all rows if they name no row, and so for tools."""
    def has(thing):
        return any(word in thing.name for word in words)
    if words and not any(has(thing) for thing in all_rows + all_tools):
        sys.exit(f"scripts/bench: no row and no tool has {' or '.join(words)} in its name")
    return ([row for row in all_rows if has(row)] or all_rows,
            [tool for tool in all_tools if has(tool)] or all_tools)


def show(row, tool, figures):
    """Prints the figures of one copy."""
    said = figures.get("note")
    if "below" in figures:
        said = f"below {plot.figure(figures['below'])} {row.score}"
    elif not said:
        cpu = " + ".join(f"{seconds:.2f}" for seconds in figures["cpu"])
        said = f"{plot.figure(figures['value'])} {row.score}, {cpu} CPU s"
        if "ping" in figures:
            said += ", ping {} and {} ms".format(*figures["ping"])
    print(f"  {row.name}: {tool.name}: {said}", flush=True)


def save(report, out):
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "bench.svg").write_text(plot.svg(report))


def measure_all(args, order, found, report, both, base):
    """Measures the chosen rows; saves after each copy. Returns whether all are complete."""
    deadline = time.monotonic() + 60 * args.minutes
    usable = [tool for tool in found if not tool.missing]
    measured, used = chosen(args.only, order, usable)
    known = {row["work"]: row for row in report["rows"]}
    for row in measured:
        known.setdefault(row.name, {"work": row.name, "score": row.score, "best": row.best(),
                                    "kind": type(row.link).__name__, "tools": {}})
    names = [row.name for row in order]
    report["rows"] = sorted(known.values(), key=lambda facts: names.index(facts["work"])
                            if facts["work"] in names else len(names))

    def done(row, tool, figures):
        show(row, tool, figures)
        save(report, args.out)
    return all([measure_row(row, used, args.rounds, both, base, known[row.name]["tools"], deadline,
                            done) for row in measured])


def main():
    args = arguments()
    network.enter()
    # So that a time limit on this script ends the programs that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    shared_memory = Path("/dev/shm")
    writable = os.access(shared_memory, os.W_OK)
    base = args.dir or (shared_memory if writable else Path(tempfile.gettempdir()))
    with contextlib.ExitStack() as stack:
        both = stack.enter_context(network.network())
        stack.enter_context(ssh_tools.sshd(both))
        found = [kind() for kind in KINDS]
        report = begin(args, found, base)
        for tool in found:
            print(f"{tool.name}: {'MISSING: ' + tool.missing if tool.missing else tool.version}")
        made = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rft-bench-traces-")))
        try:
            order = list(rows(args.extent, recordings(args.traces, made)))
        except (OSError, BadTrace) as error:
            sys.exit(f"scripts/bench: --traces: {error}")
        complete = measure_all(args, order, found, report, both, base)
    save(report, args.out)
    print("\n" + tables.everything(report))
    print(f"written: {args.out}/bench.json, {args.out}/bench.svg")
    if args.write:
        for path in tables.write(report, ROOT):
            print(f"written: {path}")
    if not complete:
        print("not complete: --resume goes on")


if __name__ == "__main__":
    main()
