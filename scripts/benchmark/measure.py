"""One measurement, and the series of them that make a row."""

import contextlib
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from network import Failed, TooSlow
from tools import Run

# Written and deleted before each copy, in addition to the size of the row's files.
SPARE_BYTES = 64 << 20


def digests(folder):
    """Every file below a folder, by its name there."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "blake2b").digest()
            found[str(path.relative_to(folder))] = digest
    return found


def touch_memory(base, size):
    """Writes files of `size` bytes and deletes them.

    A virtual machine may have lost unused memory to its host. The first program that uses it again
    would wait for it, seconds for each GiB.
    """
    block = bytes(1 << 20)
    with tempfile.NamedTemporaryFile(prefix="rft-bench-", dir=base) as file:
        for _ in range((size + SPARE_BYTES) >> 20):
            file.write(block)


def take(tool, run, meter, base):
    """Seconds, CPU seconds of both sides, round trips and counters of one copy."""
    sides = (run.left, run.right)
    counts, pings = None, []
    with tool.session(run) as copy:
        touch_memory(base, run.row.size)
        before = [side.cpu_seconds() for side in sides]
        meter.begin()
        begun = time.monotonic()
        try:
            seconds = copy()
        except (TooSlow, Failed) as failed:
            counts, pings = meter.end()
            failed.counts = counts
            raise
        if seconds is None:
            seconds = time.monotonic() - begun
        counts, pings = meter.end()
        time.sleep(0.1)  # servers note the end of their children
        cpu = [side.cpu_seconds() - was for side, was in zip(sides, before)]
    return seconds, cpu, pings, counts


def percentile(values, share):
    """Of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))]


def measure(row, tool, network, original, want, base, seed):
    """What one copy adds to the results of its tool: figures, or a note why there are none."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="rft-bench-", dir=base, ignore_cleanup_errors=True)))
        # Hard links to the same files, so that they are in memory once.
        shutil.copytree(original, folder / "source", copy_function=os.link)
        (folder / "target").mkdir()
        kept = [{pid for pid, _ in side.living()} for side in (network.left, network.right)]
        run = Run(row, network, folder)
        try:
            with row.link.open(network, seed) as meter:
                try:
                    seconds, cpu, pings, counts = take(tool, run, meter, base)
                finally:
                    for side, pids in zip((network.left, network.right), kept):
                        side.end_others(pids)
            if digests(tool.landed(run)) != want:
                return {"note": f"failed: {tool.name} delivered other files"}
        except TooSlow as slow:
            bound = row.upper_bound(getattr(slow, "counts", None))
            if bound is None:
                return {"note": f"failed: not done after {row.limit} s"}
            return {"below": round(bound, 3)}
        except (Failed, OSError) as failed:
            return {"note": f"failed: {failed}"}
    figures = {"value": round(row.value(seconds, counts), 3), "cpu": [round(one, 3) for one in cpu]}
    if pings:
        figures["ping"] = [round(percentile(pings, share), 1) for share in (0.5, 0.95)]
    if counts:
        figures["link"] = counts
    return figures


def add(result, figures):
    """Adds the figures of one copy to the results of a tool."""
    if "note" in figures:
        result["note"] = figures["note"]
        return
    result.setdefault("runs", []).append(figures)
    values = [run["value"] for run in result["runs"] if "value" in run]
    if len(values) == len(result["runs"]):
        result["median"] = statistics.median(values)
    else:
        # A run that was stopped makes the median a bound.
        result.pop("median", None)
        result["below"] = max(run.get("below", run.get("value")) for run in result["runs"])


def measure_row(row, used, rounds, network, base, results, deadline, done):
    """Measures each tool of a row until it has `rounds` runs; stops at the deadline.

    Returns whether the row is complete.
    """
    def lacking(number):
        runs = lambda tool: results.get(tool.name, {})
        return [tool for tool in used if not tool.refuses(row) and "note" not in runs(tool)
                and len(runs(tool).get("runs", [])) <= number]

    for tool in used:
        if refusal := tool.refuses(row):
            results[tool.name] = {"note": refusal}
    if not any(lacking(number) for number in range(rounds)):
        return True
    with tempfile.TemporaryDirectory(prefix="rft-bench-", dir=base) as folder:
        original = Path(folder)
        row.make(original)
        want = digests(original)
        # Round by round, so that all tools meet the same conditions of the machine.
        for number in range(rounds):
            for tool in lacking(number):
                if time.monotonic() > deadline:
                    return False
                figures = measure(row, tool, network, original, want, base, number + 1)
                add(results.setdefault(tool.name, {}), figures)
                done(row, tool, figures)
    return True
