"""How scripts/bench runs each tool that copies the files of one side to the other."""

import contextlib
import os
import re
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path

from network import LEFT, RIGHT, Failed, TooSlow

QUIET = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
# How long a session or a server may take to start, in seconds.
START_LIMIT = 30
# How long rft's session is idle before the files come, in seconds. An idle session probes the path,
# and has done so within five seconds where the path is long.
IDLE, EMULATED_IDLE = 1, 5
PORT = 4000


class Run:
    """One measurement: `source` goes to `target`; `folder` is for everything else."""

    def __init__(self, row, network, folder):
        self.row, self.network, self.folder = row, network, folder
        self.left, self.right, self.limit = network.left, network.right, row.limit
        self.source, self.target = folder / "source", folder / "target"


class Tool:
    """A way to copy files."""

    name, command, version_option = "", "", "--version"
    # Shown below the tables.
    note = ""
    # Whether it copies files as users do: the others are shown for comparison, not as rivals.
    rival = True

    def __init__(self):
        self.missing, self.version = None, ""
        if not shutil.which(self.command):
            self.missing = "not installed"
            return
        done = subprocess.run([self.command, self.version_option], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
        self.version = first_line(done.stdout + done.stderr)

    def refuses(self, row):
        """Why this tool is left out of this row; `None` if it is not."""
        return None

    @contextlib.contextmanager
    def session(self, run):
        """Everything that is up before the measurement. Yields the function to be measured.

        The function returns when every file has arrived. It may return seconds that it has
        measured itself.
        """
        yield lambda: self.copy(run)

    def copy(self, run):
        """Starts the tool and waits for its end."""
        raise NotImplementedError

    def landed(self, run):
        """The folder that holds the copies."""
        # Some tools copy the folder itself.
        inner = run.target / "source"
        return inner if inner.is_dir() else run.target


def first_line(text):
    """The version in a tool's answer, without the versions of its libraries and protocols."""
    line = " ".join(text.strip().splitlines()[:1])
    return re.split(r",|  +protocol", line)[0].replace("  version", "") or "?"


def last_words(path):
    """The last error line of a program."""
    words = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return f": {words[-1][:120]}" if words else ""


class Events:
    """Reads the events of a peer.

    It looks at most once a millisecond: to be woken for each of ten thousand events would cost
    the peer CPU time.
    """

    INTERVAL = 0.001

    def __init__(self, child):
        self.child, self.rest = child, b""

    def wait(self, pattern, count, limit):
        """Waits for `count` lines that match; returns the number of those that are missing."""
        deadline = time.monotonic() + limit
        pipe = self.child.stdout.fileno()
        while count > 0 and (left := deadline - time.monotonic()) > 0:
            if not select.select([pipe], [], [], left)[0]:
                break
            piece = os.read(pipe, 1 << 20)
            if not piece:
                break
            *lines, self.rest = (self.rest + piece).split(b"\n")
            count -= sum(1 for line in lines if pattern.search(line))
            if count > 1:
                time.sleep(self.INTERVAL)
        return count


class Rft(Tool):
    name, command, options = "rft", os.environ.get("RFT", "rft"), []
    note = "from the move into Outgoing of an idle session"
    connected = re.compile(rb'"event":"connected"')
    # Folders have no size.
    done = re.compile(rb'"event":"file_done"(?!.*"size":0,)')

    @contextlib.contextmanager
    def session(self, run):
        outgoing = run.folder / "a" / "Outgoing"
        outgoing.mkdir(parents=True)
        with self.peer(run, run.right, "b", LEFT, subprocess.PIPE) as b:
            with self.peer(run, run.left, "a", RIGHT, subprocess.DEVNULL):
                events = Events(b)
                if events.wait(self.connected, 1, START_LIMIT):
                    raise Failed("no session" + last_words(run.folder / "b.stderr"))
                time.sleep(EMULATED_IDLE if run.row.link.emulated else IDLE)
                yield lambda: self.hand_over(run, outgoing, events)

    def hand_over(self, run, outgoing, events):
        for entry in sorted(run.source.iterdir()):
            entry.rename(outgoing / entry.name)
        missing = events.wait(self.done, run.row.files, run.limit)
        if missing and events.child.poll() is None:
            raise TooSlow
        if missing:
            raise Failed(f"{missing} files are missing" + last_words(run.folder / "b.stderr"))

    @contextlib.contextmanager
    def peer(self, run, side, name, other, output):
        """One side; its stderr goes to a file beside its folder."""
        command = self.words(run, name, other)
        with open(run.folder / f"{name}.stderr", "wb") as errors:
            options = dict(stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
            with side.process(command, env=self.environment(), **options) as child:
                yield child

    def words(self, run, name, other, *options):
        base = ["--dir", run.folder / name, "--json", *self.options, *options]
        return [self.command, *base, other, str(PORT)]

    def environment(self):
        return dict(os.environ, RFT_PASSWORD="measured in the open")

    def landed(self, run):
        return run.folder / "b" / "Incoming"


class RftFromStart(Rft):
    """The receiver is up, as a server of the other tools is; the sender starts and drains."""

    name = "rft --drain"
    note = "from the start of the sender to its end; the receiver is up, as sshd is"

    def refuses(self, row):
        return "measured over Ethernet" if row.link.emulated or row.text else None

    @contextlib.contextmanager
    def session(self, run):
        outgoing = run.folder / "a" / "Outgoing"
        outgoing.mkdir(parents=True)
        for entry in sorted(run.source.iterdir()):
            entry.rename(outgoing / entry.name)
        with self.peer(run, run.right, "b", LEFT, subprocess.DEVNULL):
            time.sleep(2.0)  # it has derived its key and waits
            words = self.words(run, "a", RIGHT, "--drain")
            yield lambda: run.left.run(words, run.limit, env=self.environment()) and None


class RftUncompressed(Rft):
    name, options = "rft --compress never", ["--compress", "never"]

    def refuses(self, row):
        return None if row.text else "the same as rft, except for text"


class BareQuinn(Tool):
    """One stream of quinn with rft's settings, memory to memory: the limit that QUIC sets."""

    name, rival = "bare quinn", False
    note = "the QUIC library alone: one stream, memory to memory, with rft's transport settings"

    def __init__(self):
        self.program = os.environ.get("THROUGHPUT")
        self.missing = None if self.program else "not built"
        self.version = "benches/throughput.rs"

    def refuses(self, row):
        single = row.files == 1 and row.score in ("MB/s", "%")
        return None if single else "one long stream only"

    @contextlib.contextmanager
    def session(self, run):
        ends = f"{RIGHT}:{PORT}", f"{LEFT}:{PORT}"
        words = [self.program, "--serve", *ends]
        with run.right.process(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
            server.stdout.readline()
            yield lambda: self.send(run)

    def send(self, run):
        words = [self.program, "--send", f"{LEFT}:{PORT}", f"{RIGHT}:{PORT}", str(run.row.size)]
        return float(run.left.run(words, run.limit).split()[0])

    def landed(self, run):
        return run.source  # memory to memory: it writes no file


class Sendme(Tool):
    name, command = "sendme", "sendme"

    def copy(self, run):
        begun = time.monotonic()
        words = ["sendme", "send", "--relay", "disabled", "--ticket-type", "addresses", run.source]
        options = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        with run.left.process(words, cwd=run.folder, **options) as sender:
            ticket = None
            for line in sender.stdout:
                if ticket := re.search(rb"sendme receive (\S+)", line):
                    break
            if not ticket:
                raise Failed("no ticket")
            receive = ["sendme", "receive", "--relay", "disabled", ticket.group(1)]
            run.right.run(receive, run.limit, cwd=run.target)
            return time.monotonic() - begun


class Wormhole(Tool):
    name, command = "magic-wormhole", "wormhole"

    def __init__(self):
        super().__init__()
        if not self.missing and not shutil.which("twist"):
            self.missing = "no mailbox server (magic-wormhole-mailbox-server)"

    def refuses(self, row):
        return "TCP, as rsync over ssh" if row.link.emulated else None

    @contextlib.contextmanager
    def session(self, run):
        mailbox = ["twist", "wormhole-mailbox", f"--port=tcp:{PORT}:interface={RIGHT}"]
        with run.right.process(mailbox, cwd=run.folder, **QUIET):
            wait_for(RIGHT, PORT)
            yield lambda: self.copy(run)

    def copy(self, run):
        common = ["wormhole", f"--relay-url=ws://{RIGHT}:{PORT}/v1", "--transit-helper="]
        send = [*common, "send", "--code=7-measured-openly", run.source]
        receive = [*common, "receive", "--accept-file", "7-measured-openly"]
        with run.left.process(send, **QUIET) as sender:
            run.right.run(receive, run.limit, cwd=run.target)
            run.left.wait(sender, START_LIMIT)


class Croc(Tool):
    name, command = "croc", "croc"

    def refuses(self, row):
        return "TCP, as rsync over ssh" if row.link.emulated else None

    @contextlib.contextmanager
    def session(self, run):
        ports = ",".join(str(PORT + n) for n in range(5))
        with run.right.process(["croc", "relay", "--host", RIGHT, "--ports", ports], **QUIET):
            wait_for(RIGHT, PORT)
            yield lambda: self.copy(run)

    def copy(self, run):
        secret = dict(os.environ, CROC_SECRET="4711-measured-in-the-open")
        common = ["croc", "--yes", "--relay", f"{RIGHT}:{PORT}"]
        send = [*common, "send", "--no-local", run.source]
        with run.left.process(send, env=secret, **QUIET) as sender:
            time.sleep(0.5)
            begun = time.monotonic()
            run.right.run([*common, "--out", run.target], run.limit, env=secret)
            run.left.wait(sender, START_LIMIT)
            return time.monotonic() - begun


def wait_for(address, port):
    """Waits until a server answers."""
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
            return
        time.sleep(0.05)
    raise Failed("its server does not answer")
