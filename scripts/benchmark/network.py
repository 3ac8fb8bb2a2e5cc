"""Two network namespaces, the link between them, and the processes at its ends.

The script itself runs in the left namespace, from which files are sent. The right one belongs to a
process that waits. Everything is gone when the script ends.
"""

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
NET = "10.77.0.0/24"
INSIDE = "RFT_BENCH_INSIDE"
TICKS = os.sysconf("SC_CLK_TCK")
WAYS_IN = (["--net"], ["--user", "--map-current-user", "--keep-caps", "--net"])
WAY_OUT = """\
scripts/bench measures between two network namespaces, and none can be made here:
  {reason}
Any of these helps:
  - run it as root: sudo -E env "PATH=$PATH" scripts/bench
  - install util-linux 2.38 (unshare, nsenter) and iproute2 (ip)
  - allow namespaces to users: sysctl user.max_user_namespaces=1000, and on Ubuntu
    sysctl kernel.apparmor_restrict_unprivileged_userns=0
  - in a container: --cap-add SYS_ADMIN --cap-add NET_ADMIN"""


class Failed(Exception):
    """A tool did not deliver the files; says why in a few words."""


class TooSlow(Exception):
    """A tool was stopped at the time limit."""


def enter():
    """Starts this program again in a network namespace, as root or in a user namespace."""
    if os.environ.get(INSIDE):
        return
    probe = ["ip", "link", "add", "rft-probe", "type", "veth", "peer", "name", "rft-probe2"]
    reason = ""
    for way in WAYS_IN:
        try:
            done = subprocess.run(["unshare", *way, *probe], capture_output=True, text=True)
        except FileNotFoundError as error:
            sys.exit(WAY_OUT.format(reason=error))
        if done.returncode == 0:
            os.environ[INSIDE] = "1"
            os.execvp("unshare", ["unshare", *way, sys.executable, *sys.argv])
        reason = done.stderr.strip() or f"unshare ended with code {done.returncode}"
    sys.exit(WAY_OUT.format(reason=reason.splitlines()[-1]))


def last_line(output):
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1][:100] if lines else ""


def end(child):
    """Ends a child, and closes its pipes."""
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()


def children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Side:
    """One end of the link: runs programs in its namespace, and counts their CPU time."""

    def __init__(self, address, holder=None):
        self.address, self.holder = address, holder
        inside = f"/proc/{holder or os.getpid()}/ns/net"
        self.namespace = os.readlink(inside)
        self.prefix = ["nsenter", f"--net={inside}", "--"] if holder else []
        self.uncounted = {os.getpid(), holder}
        # CPU time of the programs that have ended.
        self.ended = 0.0

    def ip(self, *words):
        subprocess.run([*self.prefix, "ip", *words], check=True, capture_output=True)

    def run(self, command, limit, **options):
        """Runs a program to its end; returns its standard output."""
        before = children_seconds()
        try:
            done = subprocess.run([*self.prefix, *command], stdin=subprocess.DEVNULL,
                                  capture_output=True, timeout=limit, **options)
        except subprocess.TimeoutExpired:
            raise TooSlow from None
        finally:
            self.ended += children_seconds() - before
        if done.returncode:
            said = last_line(done.stderr + done.stdout)
            raise Failed(said or f"code {done.returncode}")
        return done.stdout.decode(errors="replace")

    @contextlib.contextmanager
    def process(self, command, counted=True, **options):
        """A program that ends with the block."""
        child = subprocess.Popen([*self.prefix, *command], **options)
        if not counted:
            self.uncounted.add(child.pid)
        try:
            yield child
        finally:
            before = children_seconds()
            end(child)
            if counted:
                self.ended += children_seconds() - before
            self.uncounted.discard(child.pid)

    def wait(self, child, limit):
        """Waits for a program's end, and counts its CPU time."""
        before = children_seconds()
        try:
            child.wait(limit)
        except subprocess.TimeoutExpired:
            raise TooSlow from None
        self.ended += children_seconds() - before

    def cpu_seconds(self):
        """CPU time so far. Only a difference has a meaning.

        A program's time moves to its parent when it has ended, so the sum stays.
        """
        return self.ended + sum(seconds for pid, seconds in self.living())

    def living(self):
        """The programs of this side: process number and CPU time."""
        for folder in Path("/proc").glob("[0-9]*"):
            pid = int(folder.name)
            if pid in self.uncounted:
                continue
            with contextlib.suppress(OSError):
                if os.readlink(folder / "ns/net") == self.namespace:
                    yield pid, process_seconds((folder / "stat").read_text())


    def end_others(self, kept):
        """Ends the programs that a measurement has left behind; the namespace has no others."""
        for pid in {pid for pid, _ in self.living()} - kept:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def process_seconds(stat):
    """CPU time of a process and of its children that have ended, from /proc/PID/stat."""
    # The name, in parentheses, may contain anything.
    words = stat.rpartition(")")[2].split()
    return sum(int(word) for word in words[11:15]) / TICKS


class Network:
    """The two sides."""

    def __init__(self, holder):
        self.left, self.right = Side(LEFT), Side(RIGHT, holder)

    def address(self, devices, mtu):
        """Gives the two ends of a link their addresses, and brings them up."""
        for side, device in zip((self.left, self.right), devices):
            side.ip("link", "set", device, "mtu", str(mtu), "up")
            side.ip("addr", "add", f"{side.address}/24", "dev", device)
        self.devices = devices
        self.congestion_control("cubic")

    def congestion_control(self, name):
        """Sets TCP's congestion control; fails where the kernel does not have it."""
        for side, device in zip((self.left, self.right), self.devices):
            try:
                side.ip("route", "change", NET, "dev", device, "src", side.address,
                        "congctl", name)
            except subprocess.CalledProcessError as error:
                raise Failed(f"no {name}: {last_line(error.stderr)}") from None

    @contextlib.contextmanager
    def ethernet(self, mtu):
        """A veth pair."""
        self.left.ip("link", "add", "eth-left", "type", "veth", "peer", "name", "eth-right",
                     "netns", str(self.right.holder))
        try:
            self.address(("eth-left", "eth-right"), mtu)
            yield Cable()
        finally:
            self.left.ip("link", "del", "eth-left")

    @contextlib.contextmanager
    def emulated(self, properties):
        """An emulated link at MTU 1,500."""
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise Failed("/dev/net/tun cannot be opened: run as root")
        command = [sys.executable, Path(__file__).parent / "emulator.py", "tun-left", "tun-right"]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        with self.left.process(command, counted=False, **pipes) as emulator:
            emulator.stdin.write(json.dumps(properties) + "\n")
            if emulator.stdout.readline() != "ready\n":
                raise Failed("the emulator of the link did not start")
            # A device keeps its emulator in another namespace.
            self.left.ip("link", "set", "tun-right", "netns", str(self.right.holder))
            for side, device in zip((self.left, self.right), ("tun-left", "tun-right")):
                side.ip("link", "set", device, "txqueuelen", "10000", "addrgenmode", "none")
            self.address(("tun-left", "tun-right"), 1500)
            link = EmulatedLink(emulator)
            try:
                yield link
            finally:
                link.end_ping()


@contextlib.contextmanager
def network():
    """The namespaces, which end with the block."""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    # cat ends with this script, however that ends.
    holder = subprocess.Popen(["unshare", "--net", "cat"], bufsize=0, **pipes)
    try:
        holder.stdin.write(b"\n")
        holder.stdout.read(1)  # now it is in its namespace
        both = Network(holder.pid)
        for side in (both.left, both.right):
            side.ip("link", "set", "lo", "up")
        yield both
    finally:
        end(holder)


class Cable:
    """The meter of a link that has nothing to measure."""

    def begin(self):
        """Starts a measurement."""

    def end(self):
        """Ends it: no counters, and no round trips."""
        return None, []


class EmulatedLink:
    """The meter of an emulated link: the emulator's counters, and a ping beside the transfer."""

    def __init__(self, emulator):
        self.emulator, self.ping = emulator, None

    def begin(self):
        self.emulator.stdin.write("begin\n")
        self.ping = Ping(RIGHT)

    def end(self):
        self.emulator.stdin.write("end\n")
        return json.loads(self.emulator.stdout.readline()), self.end_ping()

    def end_ping(self):
        """Round trips so far. Also after an interrupted copy: its threads would run on."""
        ping, self.ping = self.ping, None
        return ping.end() if ping else []


class Ping:
    """Round trips of ICMP echoes, in a thread."""

    INTERVAL = 0.05
    # An echo that takes longer is lost.
    TIMEOUT = 10

    def __init__(self, address):
        self.sent, self.round_trips, self.ended = {}, [], threading.Event()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.settimeout(0.1)
        self.address, self.identifier = address, os.getpid() & 0xFFFF
        self.threads = [threading.Thread(target=run) for run in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def send(self):
        number = 0
        while not self.ended.is_set():
            head = struct.pack("!BBHHH", 8, 0, 0, self.identifier, number & 0xFFFF)
            packet = struct.pack("!BBHHH", 8, 0, checksum(head), self.identifier, number & 0xFFFF)
            self.sent[number & 0xFFFF] = time.monotonic()
            with contextlib.suppress(OSError):
                self.socket.sendto(packet, (self.address, 0))
            number += 1
            self.ended.wait(self.INTERVAL)

    def receive(self):
        while not self.ended.is_set():
            try:
                packet = self.socket.recv(1500)
            except OSError:
                continue
            kind, _, _, identifier, number = struct.unpack("!BBHHH", packet[20:28])
            if (kind, identifier) == (0, self.identifier) and number in self.sent:
                self.round_trips.append(time.monotonic() - self.sent.pop(number))

    def end(self):
        """Milliseconds of every echo that came back."""
        self.ended.set()
        for thread in self.threads:
            thread.join()
        self.socket.close()
        return sorted(1000 * seconds for seconds in self.round_trips)


def checksum(head):
    total = sum(struct.unpack(f"!{len(head) // 2}H", head))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
