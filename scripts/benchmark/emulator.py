"""Emulates a link between two TUN devices: rate or recording, queue, delay and loss, each way.

    emulator.py LEFT_DEVICE RIGHT_DEVICE     with the link's properties as JSON on the first line
                                             of its standard input

Prints `ready` when both devices exist. `begin` on the standard input starts the recording anew and
sets the counters to zero; `end` prints the counters as JSON. Ends with its standard input.

A device carries whole IP packets, so the kernel has segmented TCP and UDP before they arrive here,
and every tool crosses the same link.
"""

import bisect
import fcntl
import gc
import json
import os
import random
import select
import struct
import sys
import time
from collections import deque
from pathlib import Path

import traces

# ioctl and flags of <linux/if_tun.h>: a TUN device without a header before each packet.
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MAX_PACKET = 65_536
# Packets that are read before others are delivered.
BATCH = 64
MAX_QUEUE_TIME = 0.1
MAX_QUEUE_BYTES = 256 << 10


class ConstantRate:
    """A transmitter of `rate` bytes a second with a drop-tail queue of 100 ms."""

    def __init__(self, rate):
        self.rate, self.free = rate, 0.0

    def begin(self, now):
        """Nothing to start anew."""

    def leave(self, now, size):
        """When a packet has been transmitted, or `None` if it is dropped."""
        start = max(now, self.free)
        if start - now > MAX_QUEUE_TIME:
            return None
        self.free = start + size / self.rate
        return self.free

    def capacity(self, seconds):
        return self.rate * seconds


class Recorded:
    """A transmitter that follows a recording, with a drop-tail queue of 256 KiB."""

    def __init__(self, trace):
        self.trace, self.waiting, self.waiting_bytes = trace, deque(), 0
        self.begin(0.0)

    def begin(self, now):
        """Starts the recording anew. Packets in the queue keep their times."""
        self.start, self.opportunity, self.left = now, 0, traces.OPPORTUNITY_BYTES

    def first_at(self, elapsed):
        """The number of the first opportunity that is not before `elapsed`."""
        rounds, within = divmod(elapsed, self.trace.length)
        return int(rounds) * len(self.trace.times) + bisect.bisect_left(self.trace.times, within)

    def leave(self, now, size):
        while self.waiting and self.waiting[0][0] <= now:
            self.waiting_bytes -= self.waiting.popleft()[1]
        if self.waiting and self.waiting_bytes + size > MAX_QUEUE_BYTES:
            return None
        first = self.first_at(now - self.start)
        if first > self.opportunity:
            # Unused opportunities have passed.
            self.opportunity, self.left = first, traces.OPPORTUNITY_BYTES
        need = size
        while need > self.left:
            need -= self.left
            self.opportunity, self.left = self.opportunity + 1, traces.OPPORTUNITY_BYTES
        self.left -= need
        leaves = self.start + self.trace.time(self.opportunity)
        self.waiting.append((leaves, size))
        self.waiting_bytes += size
        return leaves

    def capacity(self, seconds):
        return self.first_at(seconds) * traces.OPPORTUNITY_BYTES


class Direction:
    """One direction of the link."""

    def __init__(self, transmitter, delay, loss, seed):
        self.transmitter, self.delay, self.loss = transmitter, delay, loss
        self.dice = random.Random(seed)
        self.in_flight, self.last = deque(), 0.0
        self.begin(0.0)

    def begin(self, now):
        self.delivered_bytes = self.delivered = self.dropped = self.lost = 0
        # How late packets are delivered: the emulator's own error.
        self.late_sum = self.late_max = 0.0
        self.transmitter.begin(now)

    def take(self, now, packet):
        """Queues a packet for its delivery, drops it, or loses it on the wire."""
        leaves = self.transmitter.leave(now, len(packet))
        if leaves is None:
            self.dropped += 1
        elif self.loss and self.dice.random() < self.loss:
            self.lost += 1
        else:
            self.last = max(self.last, leaves + self.delay)
            self.in_flight.append((self.last, packet))

    def due(self):
        return self.in_flight[0][0] if self.in_flight else None

    def deliver(self, now, send):
        """Sends every packet that is due."""
        while self.in_flight and self.in_flight[0][0] <= now:
            due, packet = self.in_flight.popleft()
            send(packet)
            self.delivered += 1
            self.delivered_bytes += len(packet)
            self.late_sum += now - due
            self.late_max = max(self.late_max, now - due)

    def counts(self, seconds):
        return {
            "capacity_bytes": int(self.transmitter.capacity(seconds)),
            "delivered_bytes": self.delivered_bytes,
            "dropped_packets": self.dropped,
            "lost_packets": self.lost,
            "late_mean_ms": round(1000 * self.late_sum / max(1, self.delivered), 3),
            "late_max_ms": round(1000 * self.late_max, 3),
        }


def directions(properties):
    """Left to right, and right to left, from the properties of a link."""
    delay, seed = properties["delay_ms"] / 1000, properties["seed"]
    for way, number in (("there", 0), ("back", 1)):
        recording = properties.get(way)
        if recording:
            transmitter = Recorded(traces.parse(Path(recording).read_text()))
        else:
            transmitter = ConstantRate(properties["rate"])
        yield Direction(transmitter, delay, properties.get("loss", 0.0), 2 * seed + number)


def open_device(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def sender(device):
    def send(packet):
        try:
            os.write(device, packet)
        except OSError:
            pass  # the interface is down, as before the first and after the last use
    return send


def carry(devices, both, commands):
    """Carries packets until the standard input ends."""
    began = time.monotonic()
    send = [sender(devices[1]), sender(devices[0])]
    watched = [*devices, commands]
    while True:
        now = time.monotonic()
        dues = [due for way in both if (due := way.due()) is not None]
        wait = max(0.0, min(dues) - now) if dues else 1.0
        ready = select.select(watched, [], [], wait)[0]
        if commands in ready:
            word = commands.readline().strip()
            now = time.monotonic()
            if word == "begin":
                began = now
                for way in both:
                    way.begin(now)
            elif word == "end":
                counts = [way.counts(now - began) for way in both]
                print(json.dumps({"seconds": now - began, "there": counts[0], "back": counts[1]}))
                sys.stdout.flush()
            else:
                return
        for device, way in zip(devices, both):
            if device in ready:
                take_all(device, way)
        now = time.monotonic()
        for way, sending in zip(both, send):
            way.deliver(now, sending)


def take_all(device, way):
    for _ in range(BATCH):
        try:
            packet = os.read(device, MAX_PACKET)
        except OSError:
            return  # no more packets, or the interface is down
        way.take(time.monotonic(), packet)


def main():
    # A collection would delay packets by milliseconds.
    gc.disable()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass  # without root: a busy machine delays packets
    # A command comes only after the answer to the one before, so Python buffers none unseen.
    commands = sys.stdin
    properties = json.loads(commands.readline())
    devices = [open_device(name) for name in sys.argv[1:3]]
    print("ready", flush=True)
    carry(devices, list(directions(properties)), commands)


if __name__ == "__main__":
    main()
