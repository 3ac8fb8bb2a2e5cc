"""The measurements of scripts/bench: kinds of work, and the links that they cross."""

import os
import random
from pathlib import Path

MB = 1_000_000
# Of an IP packet of 1,480 bytes: the share of the UDP payload, and the share of file data, without
# QUIC's headers, tag and frame.
PAYLOAD, FILE = 1452 / 1480, 0.957


class Link:
    """An emulated link: bits a second, round trip in milliseconds, percent lost each way."""

    def __init__(self, mbit, rtt, loss):
        self.mbit, self.rtt, self.loss = mbit, rtt, loss

    def __str__(self):
        return f"{self.mbit} Mbit/s, {self.rtt} ms, {self.loss:g} %"

    def relay_arguments(self):
        return [str(int(self.mbit * 1e6 / 8 * PAYLOAD)), f"{self.rtt / 2:g}", f"{self.loss:g}"]

    def limit(self):
        """The rate for files after loss, in MB/s."""
        return self.mbit / 8 * FILE * (1 - self.loss / 100)


class Row:
    """One kind of work: files, and the link that they cross. `score` is its unit: MB/s, files/s or ms."""

    def __init__(self, what, score, make, size, files=1, link=None, text=False):
        self.name = f"{what} over {link}" if link else what
        self.score, self.make, self.size, self.files, self.link, self.text = score, make, size, files, link, text

    def value(self, seconds):
        """`seconds` for this work, converted to its score."""
        return {"MB/s": self.size / MB / seconds, "files/s": self.files / seconds, "ms": seconds * 1000}[self.score]

    def limit(self):
        """The best value that the link allows; none if files may be compressed."""
        if not self.link or self.text:
            return None
        return self.value(self.link.rtt / 2000 + self.size / MB / self.link.limit())


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


def big(size, link=None):
    name = f"{size / MB:g} MB" if link else f"one file of {size >> 20:,} MiB"
    return Row(name, "MB/s", random_file(size), size, link=link)


def text(size, link=None):
    name = f"{size / MB:g} MB of text" if link else f"{size >> 20:,} MiB of text"
    return Row(name, "MB/s", text_file(size), size, link=link, text=True)


def small(count, size, folders, score, link=None):
    name = f"{count:,} files of {size >> 10} KiB"
    return Row(name, score, small_files(count, size, folders), count * size, count, link)


def rows(extent):
    """All rows; extent is quick, standard or full."""
    quick, full = extent == "quick", extent == "full"
    few = 10 if quick else 1
    yield big((128 if quick else 1024) << 20)
    yield small(10_000 // few, 4096, 100 // few, "files/s")
    yield small(1000 // few, 100 << 10, 10, "MB/s")
    yield Row("one file of 1 KB", "ms", random_file(1000), 1000)
    yield text((1024 if full else 32 if quick else 256) << 20)
    for loss in [0, 0.1, 1, 2, 5] if full else [0, 1, 5]:
        yield big((20 if quick else 100) * MB, Link(100, 50, loss))
    yield small(1000 // few, 10 << 10, 10, "files/s", Link(100, 100, 1))
    if full:
        yield big(20 * MB, Link(20, 200, 1))
        yield small(2000, 4096, 10, "files/s", Link(100, 262, 0))
    yield text((10 if quick else 20) * MB, Link(20, 50, 0))
    yield Row("one file of 1 KB", "ms", random_file(1000), 1000, link=Link(100, 50, 0))
