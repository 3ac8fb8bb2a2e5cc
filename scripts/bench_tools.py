"""How scripts/bench runs each tool: it copies the files of a folder to another one. Returns the seconds that it took."""

import contextlib
import getpass
import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

# Longest time of a run.
PATIENCE = 600


class Failed(Exception):
    """The tool did not deliver the files; says why in a few words."""


def digests(folder):
    """Every file below a folder, by its name there."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "blake2b").digest()
    return found


def free_port(address, kind=socket.SOCK_DGRAM):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind((address, 0))
        return one.getsockname()[1]


def run(command, **options):
    """The seconds that a command took; fails with its last error line."""
    begun = time.monotonic()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, **options)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {PATIENCE} s") from None
    if done.returncode:
        words = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
        raise Failed(words[-1][:80] if words else f"code {done.returncode}")
    return time.monotonic() - begun, done.stdout.decode(errors="replace")


@contextlib.contextmanager
def process(command, **options):
    """A process that ends with the block."""
    child = subprocess.Popen(command, **options)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe:
                pipe.close()


@contextlib.contextmanager
def lines_of(child, patience=60):
    """Lines of a process's output. Ends the process after the given time."""
    # One timer for all lines: a timer for each would dominate the cost of reading ten thousand of
    # them.
    timer = threading.Timer(patience, child.kill)
    timer.start()
    try:
        yield child.stdout
    finally:
        timer.cancel()


def last_words(path):
    """The last error line of a program."""
    words = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return f": {words[-1][:120]}" if words else ""


def same(want, got, tool):
    if digests(got) != want:
        raise Failed(f"{tool} brought other files")


class Tool:
    """A way to copy files."""

    name, command, version_option = "", "", "--version"
    # Whether it uses UDP with a configurable address and port, so that it can cross the emulated
    # link.
    udp = False

    def __init__(self):
        self.missing, self.version = None, ""
        if not shutil.which(self.command):
            self.missing = "not installed"
            return
        done = subprocess.run([self.command, self.version_option], capture_output=True, stdin=subprocess.DEVNULL)
        words = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
        self.version = words[0] if words else "?"

    def refuses(self, row):
        """Why this tool is left out of this row; `None` if it is not."""
        if row.link and not self.udp:
            return "does not go over a UDP relay"
        return None

    def run(self, row, source, want, folder):
        """The seconds that a copy takes."""
        target = folder / "target"
        target.mkdir()
        seconds = self.copy(source, target, folder)
        same(want, target, self.name)
        return seconds


@contextlib.contextmanager
def emulated(link, a, b):
    """The addresses that A and B send to: each other's, or those of a relay between them."""
    if not link:
        yield b, a
        return
    command = [os.environ["RELAY"], a, b, *link.relay_arguments()]
    with process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relay:
        with lines_of(relay) as lines:
            words = next((line for line in lines if re.fullmatch(r"[\d.]+:\d+ [\d.]+:\d+\n", line)), None)
        if not words:
            raise Failed("the relay did not start")
        yield tuple(words.split())


class Rft(Tool):
    name, command, udp, options = "rft", os.environ["RFT"], True, []

    def run(self, row, source, want, folder):
        at_a = f"127.0.0.1:{free_port('127.0.0.1')}"
        at_b = f"127.0.0.2:{free_port('127.0.0.2')}"
        outgoing = folder / "a" / "Outgoing"
        outgoing.mkdir(parents=True)
        with emulated(row.link, at_a, at_b) as (to_b, to_a), self.peer(folder / "b", at_b, to_a, subprocess.PIPE) as b:
            with self.peer(folder / "a", at_a, to_b, subprocess.DEVNULL), lines_of(b, PATIENCE) as events:
                if not any(b'"event":"connected"' in line for line in events):
                    raise Failed("no session" + last_words(folder / "b.complaints"))
                time.sleep(1.0)  # the session rests, as one does that waits for files
                begun = time.monotonic()
                for entry in sorted(source.iterdir()):
                    entry.rename(outgoing / entry.name)
                left = len(want)
                for line in events:
                    # Folders have no size.
                    if b'"event":"file_done"' in line and b'"size":0,' not in line:
                        left -= 1
                        if left == 0:
                            break
                seconds = time.monotonic() - begun
                if left:
                    raise Failed(f"{left} files are missing" + last_words(folder / "a.complaints"))
        same(want, folder / "b" / "Incoming", self.name)
        return seconds

    @contextlib.contextmanager
    def peer(self, base, bind, other, output):
        """One side; its stderr goes to a file beside its folder."""
        address, port = other.rsplit(":", 1)
        command = [self.command, "--dir", base, "--bind", bind, *self.options, "--json", address, port]
        environment = dict(os.environ, RFT_PASSWORD="measured in the open")
        with open(f"{base}.complaints", "wb") as complaints:
            options = dict(env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints)
            with process(command, **options) as child:
                yield child


class RftUncompressed(Rft):
    name, options = "rft --compress never", ["--compress", "never"]

    def refuses(self, row):
        return None if row.text else "the same as rft, but for text"


class BareQuinn(Tool):
    """One stream of quinn with rft's settings, memory to memory: the limit that QUIC sets."""

    name, udp = "bare quinn", True

    def __init__(self):
        self.missing = None if os.environ.get("THROUGHPUT") else "not built"
        self.version = "benches/throughput.rs"

    def refuses(self, row):
        return None if row.files == 1 and row.score == "MB/s" else "one long stream only"

    def run(self, row, source, want, folder):
        link = ["--link=" + ",".join(row.link.relay_arguments())] if row.link else []
        _, output = run([os.environ["THROUGHPUT"], "--bare", *link, str(max(1, round(row.size / (1 << 20)))), "1"])
        return row.size / 1e6 / float(re.search(r"bare QUIC ([\d.]+) MB/s", output).group(1))


class OverSsh(Tool):
    """Tools that log in to an sshd of our own on loopback."""

    sshd = None

    def __init__(self):
        super().__init__()
        if not self.missing and not OverSsh.sshd:
            self.missing = "no sshd here to talk to"


class Rsync(OverSsh):
    name, command = "rsync over ssh", "rsync"

    def copy(self, source, target, folder):
        ssh = f"ssh -F {self.sshd}"
        there = f"--rsync-path={shutil.which('rsync')}"
        return run(["rsync", "-a", "-e", ssh, there, f"{source}/", f"bench:{target}/"])[0]


class Scp(OverSsh):
    name, command, version_option = "scp", "scp", "-V"

    def __init__(self):
        super().__init__()
        words = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr if not self.missing else ""
        self.version = words.strip()

    def copy(self, source, target, folder):
        return run(["scp", "-q", "-r", "-F", self.sshd, *sorted(source.iterdir()), f"bench:{target}/"])[0]


class Qcp(OverSsh):
    name, command = "qcp", "qcp"

    def copy(self, source, target, folder):
        # The first configuration tells qcp where the host is, the second one is its ssh's.
        ssh = ["--ssh-config", self.sshd, "-S", "-F", "-S", self.sshd, "--remote-qcp-binary", shutil.which("qcp")]
        seconds = run(["qcp", "--quiet", *ssh, "-r", source, f"bench:{target}/"])[0]
        unwrap(target)
        return seconds


class Sendme(Tool):
    name, command = "sendme", "sendme"

    def copy(self, source, target, folder):
        begun = time.monotonic()
        options = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)
        with process(["sendme", "send", "--relay", "disabled", "--ticket-type", "addresses", source], **options) as sender:
            with lines_of(sender) as lines:
                ticket = next((found.group(1) for line in lines if (found := re.search(r"sendme receive (\S+)", line))), None)
            if not ticket:
                raise Failed("no ticket")
            run(["sendme", "receive", "--relay", "disabled", ticket], cwd=target)
            seconds = time.monotonic() - begun
        unwrap(target)
        return seconds


class Croc(Tool):
    name, command = "croc", "croc"

    def copy(self, source, target, folder):
        port = free_port("127.0.0.1", socket.SOCK_STREAM)
        secret = dict(os.environ, CROC_SECRET="4711-measured-in-the-open")
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        relay = ["croc", "relay", "--host", "127.0.0.1", "--ports", ",".join(str(port + n) for n in range(5))]
        options = ["--yes", "--relay", f"127.0.0.1:{port}"]
        with process(relay, **quiet):
            begun = time.monotonic()
            with process(["croc", *options, "send", "--no-local", source], env=secret, **quiet):
                time.sleep(0.5)
                run(["croc", *options, "--out", target], env=secret)
                seconds = time.monotonic() - begun - 0.5
        unwrap(target)
        return seconds


class Wormhole(Tool):
    name, command = "magic-wormhole", "wormhole"

    def __init__(self):
        super().__init__()
        if not self.missing and not shutil.which("twist"):
            self.missing = "no mailbox server (magic-wormhole-mailbox-server)"

    def copy(self, source, target, folder):
        port = free_port("127.0.0.1", socket.SOCK_STREAM)
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        mailbox = ["twist", "wormhole-mailbox", f"--port=tcp:{port}:interface=127.0.0.1"]
        common = ["wormhole", f"--relay-url=ws://127.0.0.1:{port}/v1", "--transit-helper="]
        with process(mailbox, cwd=folder, **quiet):
            wait_for(port)
            begun = time.monotonic()
            with process([*common, "send", "--code=7-measured-openly", source], **quiet):
                run([*common, "receive", "--accept-file", "7-measured-openly"], cwd=target)
                seconds = time.monotonic() - begun
        unwrap(target)
        return seconds


def unwrap(target):
    """Tools that copy the folder itself: only its contents are compared."""
    inner = target / "source"
    if inner.is_dir():
        for entry in list(inner.iterdir()):
            entry.rename(target / entry.name)
        inner.rmdir()


def wait_for(port):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise Failed("its server does not answer")


@contextlib.contextmanager
def own_sshd():
    """An sshd on loopback with keys of its own, for this user. Returns the path of a client configuration."""
    sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not sshd or not shutil.which("ssh-keygen"):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="rft-bench-ssh-") as folder:
        folder = Path(folder)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        port = free_port("127.0.0.1", socket.SOCK_STREAM)
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n"
            "Subsystem sftp internal-sftp\n")
        (folder / "ssh_config").write_text(
            f"Host bench\nHostName 127.0.0.1\nPort {port}\nUser {getpass.getuser()}\nIdentityFile {folder}/user\n"
            f"IdentitiesOnly yes\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n")
        with contextlib.suppress(OSError):
            os.makedirs("/run/sshd", exist_ok=True)  # sshd of Debian wants it, and only root can make it
        with process([sshd, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL):
            try:
                wait_for(port)
                run(["ssh", "-F", folder / "ssh_config", "bench", "true"])
                yield folder / "ssh_config"
            except Failed as failed:
                print(f"sshd cannot be used: {failed}")
                yield None


@contextlib.contextmanager
def all_tools():
    """Every tool that this script knows, installed or not."""
    with own_sshd() as sshd:
        OverSsh.sshd = sshd
        yield [kind() for kind in (Rft, RftUncompressed, BareQuinn, Rsync, Scp, Qcp, Sendme, Wormhole, Croc)]
