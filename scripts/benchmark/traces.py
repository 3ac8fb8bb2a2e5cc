"""Recordings of mobile links in mahimahi's format, and a synthetic one for machines without any.

A line is an opportunity to deliver one packet of 1,504 bytes, in milliseconds from the start. The
last line is the length of the recording, after which it begins again.
"""

import math
import random

OPPORTUNITY_BYTES = 1504
# The synthetic link: the range of its rate, how often the rate changes, and how often the link is
# interrupted, as in a handover.
MIN_MBIT, MAX_MBIT = 1.0, 40.0
STEP_MS = 100
GAP_INTERVAL_MS, MIN_GAP_MS, MAX_GAP_MS = 15_000, 200, 1_200


class BadTrace(Exception):
    """The text is not a recording."""


class Trace:
    """A recording that is played again and again."""

    def __init__(self, times):
        if not times or times[-1] <= 0 or any(a > b for a, b in zip(times, times[1:])):
            raise BadTrace("a recording has rising times in milliseconds, one a line")
        self.times = [at / 1000 for at in times]
        self.length = self.times[-1]

    def bytes_per_second(self):
        return len(self.times) * OPPORTUNITY_BYTES / self.length

    def time(self, number):
        """When opportunity `number` comes, in seconds from the start."""
        round_, within = divmod(number, len(self.times))
        return round_ * self.length + self.times[within]


def parse(text):
    try:
        return Trace([int(line) for line in text.split()])
    except ValueError as error:
        raise BadTrace(str(error)) from None


def synthetic(seed, seconds, share=1.0):
    """Opportunities of a mobile link, in milliseconds: a random walk of the rate, with gaps.

    `share` scales the rate, for the way up.
    """
    dice = random.Random(seed)
    level = dice.uniform(math.log(MIN_MBIT), math.log(MAX_MBIT))
    times, credit, gap_until = [], 0.0, -1
    next_gap = dice.expovariate(1 / GAP_INTERVAL_MS)
    for at in range(1, int(seconds * 1000) + 1):
        if at % STEP_MS == 0:
            # The rate often doubles or halves within a second, and slowly returns to its mean.
            level += dice.gauss(0, 0.25) + 0.02 * (math.log(12) - level)
            level = min(max(level, math.log(MIN_MBIT)), math.log(MAX_MBIT))
        if at >= next_gap:
            gap_until = at + dice.uniform(MIN_GAP_MS, MAX_GAP_MS)
            next_gap = gap_until + dice.expovariate(1 / GAP_INTERVAL_MS)
        if at < gap_until:
            continue
        credit += math.exp(level) * share * 1e6 / 8 / 1000
        while credit >= OPPORTUNITY_BYTES:
            credit -= OPPORTUNITY_BYTES
            times.append(at)
    # The last line states the length.
    return times + [int(seconds * 1000)]
