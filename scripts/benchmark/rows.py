"""The measurements of scripts/bench: kinds of work, and the links that they cross."""

import os
import random
from pathlib import Path

import traces

MB = 1_000_000
# The share of file data in an IP packet of 1,480 bytes, without headers, tag and frame of QUIC.
FILE = 0.957
# With --quick a tool is stopped after this time, in seconds.
QUICK_LIMIT = 8
ROOT = Path(__file__).parent.parent.parent


class Ethernet:
    """Two hosts on one cable: a veth pair."""

    emulated = False

    def __init__(self, mtu):
        self.mtu = mtu

    def __str__(self):
        return f"MTU {self.mtu:,}"

    def open(self, network, seed):
        return network.ethernet(self.mtu)


class Link:
    """An emulated link: bits a second, round trip in milliseconds, percent lost each way."""

    emulated = True

    def __init__(self, mbit, rtt, loss):
        self.mbit, self.rtt, self.loss = mbit, rtt, loss

    def __str__(self):
        return f"{self.mbit} Mbit/s, {self.rtt} ms, {self.loss:g} %"

    def open(self, network, seed):
        return network.emulated({"rate": self.mbit * 1e6 / 8, "delay_ms": self.rtt / 2,
                                 "loss": self.loss / 100, "seed": seed})

    def limit(self):
        """The rate for files after loss, in MB/s."""
        return self.mbit / 8 * FILE * (1 - self.loss / 100)


class Recording:
    """A recorded mobile link, 20 ms each way. `name` is that of the recording."""

    emulated = True

    def __init__(self, name, there, back):
        self.name, self.there, self.back = name, there, back

    def __str__(self):
        return self.name

    def open(self, network, seed):
        return network.emulated({"there": str(self.there), "back": str(self.back),
                                 "delay_ms": 20, "seed": seed})


class Row:
    """One kind of work: files, and the link that they cross.

    `score` is its unit: MB/s, files/s, ms, or % of what the link could carry meanwhile.
    `limit` is the time after which a tool is stopped, in seconds.
    """

    def __init__(self, what, score, make, size, link, files=1, text=False, limit=120):
        self.name, self.link = f"{what}, {link}", link
        self.score, self.make, self.size, self.files, self.text = score, make, size, files, text
        self.limit = limit

    def value(self, seconds, counts=None):
        """`seconds` for this work, converted to its score."""
        if self.score == "%":
            return 100 * self.size / counts["there"]["capacity_bytes"]
        by_unit = {"MB/s": self.size / MB / seconds, "files/s": self.files / seconds}
        return by_unit.get(self.score, seconds * 1000)

    def upper_bound(self, counts):
        """A value that a tool stopped at the limit cannot have reached; `None` if unknown."""
        if self.score == "ms":
            return None
        if not counts:
            return self.value(self.limit)
        delivered = counts["there"]["delivered_bytes"]
        if self.score == "%":
            return 100 * delivered / counts["there"]["capacity_bytes"]
        return self.value(self.limit) * min(1, delivered / self.size)

    def best(self):
        """The best value that the link allows; `None` if unknown."""
        if not isinstance(self.link, Link) or self.text:
            return None
        return self.value(self.link.rtt / 2000 + self.size / MB / self.link.limit())


def random_file(size):
    def make(folder):
        with open(folder / "big", "wb") as file:
            for at in range(0, size, MB):
                file.write(os.urandom(min(MB, size - at)))
    return make


def text_file(size):
    """Lines of the project's own documents and sources, shuffled; they repeat only far apart."""
    def make(folder):
        paths = [*ROOT.glob("docs/*.md"), *ROOT.glob("src/**/*.rs"), *ROOT.glob("tests/**/*.rs")]
        texts = [path.read_text().splitlines(keepends=True) for path in sorted(paths)]
        lines = [line for text in texts for line in text if line.strip()]
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


def big(size, link):
    name = f"{size / MB:g} MB" if link.emulated else f"one file of {size >> 20:,} MiB"
    return Row(name, "MB/s", random_file(size), size, link, limit=30 if link.emulated else 120)


def text(size, link):
    name = f"{size / MB:g} MB of text" if link.emulated else f"{size >> 20:,} MiB of text"
    return Row(name, "MB/s", text_file(size), size, link, text=True, limit=30)


def small(count, size, folders, score, link):
    name = f"{count:,} files of {size >> 10} KiB"
    make = small_files(count, size, folders)
    return Row(name, score, make, count * size, link, count, limit=40)


def tiny(link):
    return Row("one file of 1 KB", "ms", random_file(1000), 1000, link, limit=20)


def mobile(recording, seconds):
    """A file that would take `seconds` at the recording's mean rate."""
    rate = traces.parse(recording.there.read_text()).bytes_per_second()
    size = int(rate * seconds) // MB * MB or MB
    return Row(f"{size // MB} MB", "%", random_file(size), size, recording, limit=3 * seconds)


def rows(extent, recordings):
    """All rows; extent is quick, standard or full."""
    for row in all_rows(extent, recordings):
        if extent == "quick":
            row.limit = min(row.limit, QUICK_LIMIT)
        yield row


def all_rows(extent, recordings):
    quick, full = extent == "quick", extent == "full"
    few = 10 if quick else 1
    ethernet, jumbo = Ethernet(1500), Ethernet(9000)
    yield big((128 if quick else 1024) << 20, ethernet)
    yield small(10_000 // few, 4096, 100 // few, "files/s", ethernet)
    yield small(1000 // few, 100 << 10, 10, "MB/s", ethernet)
    yield tiny(ethernet)
    yield text((1024 if full else 32 if quick else 256) << 20, ethernet)
    yield big((128 if quick else 1024) << 20, jumbo)
    if not quick:
        yield small(10_000, 4096, 100, "files/s", jumbo)
    for loss in [0, 0.1, 1, 2, 5] if full else [1] if quick else [0, 1, 5]:
        yield big((10 if quick else 100) * MB, Link(100, 50, loss))
    yield small(1000 // few, 10 << 10, 10, "files/s", Link(100, 100, 1))
    if full:
        yield big(20 * MB, Link(20, 200, 1))
        yield small(2000, 4096, 10, "files/s", Link(100, 262, 0))
    yield text((5 if quick else 20) * MB, Link(20, 50, 0))
    yield tiny(Link(100, 50, 0))
    for recording in recordings:
        yield mobile(recording, 4 if quick else 60 if full else 30)


def recordings(folder, made):
    """Pairs NAME.down and NAME.up in `folder`; without one a synthetic pair, put into `made`."""
    if folder:
        found = [Recording(path.stem, path, path.with_suffix(".up"))
                 for path in sorted(folder.glob("*.down")) if path.with_suffix(".up").exists()]
        if not found:
            raise OSError(f"{folder} has no pair NAME.down and NAME.up")
        return found
    paths = made / "synthetic.down", made / "synthetic.up"
    for path, seed, share in zip(paths, (1, 2), (1, 0.4)):
        times = traces.synthetic(seed, 120, share)
        path.write_text("".join(f"{at}\n" for at in times))
    return [Recording("synthetic mobile link", *paths)]
