"""Tests of the parts of scripts/bench that measure nothing: python3 -m unittest discover -s
scripts/benchmark. The last one needs network namespaces, and is skipped without them."""

import copy
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import emulator
import measure
import network
import rows
import tables
import tools
import traces

HERE = Path(__file__).parent


class Traces(unittest.TestCase):
    def test_text_that_is_no_recording_is_refused(self):
        for text in ("", "0\n", "3\n2\n", "one\n"):
            with self.assertRaises(traces.BadTrace, msg=text):
                traces.parse(text)

    def test_the_synthetic_link_repeats_changes_and_pauses(self):
        times = traces.synthetic(1, 60)
        self.assertEqual(times, traces.synthetic(1, 60))
        self.assertNotEqual(times, traces.synthetic(2, 60))
        self.assertEqual(times[-1], 60_000)
        traces.Trace(times)
        pauses = [b - a for a, b in zip(times, times[1:]) if b - a >= traces.MIN_GAP_MS]
        self.assertGreater(len(pauses), 1)
        seconds = [sum(at // 1000 == n for at in times) for n in range(60)]
        self.assertGreater(max(seconds), 4 * min(seconds))

    def test_a_share_scales_the_rate(self):
        whole, part = len(traces.synthetic(1, 60)), len(traces.synthetic(1, 60, 0.4))
        self.assertAlmostEqual(part / whole, 0.4, delta=0.02)


class Emulator(unittest.TestCase):
    def recorded(self):
        return emulator.Recorded(traces.parse("1\n1\n3\n10\n"))

    def assert_times(self, found, wanted):
        self.assertEqual([round(1000 * at, 6) for at in found], wanted)

    def test_a_recording_delivers_at_its_opportunities(self):
        link = self.recorded()
        self.assert_times([link.leave(0, 1504) for _ in range(6)], [1, 1, 3, 10, 11, 11])

    def test_small_packets_share_an_opportunity_and_unused_ones_pass(self):
        link = self.recorded()
        self.assert_times([link.leave(0, 752) for _ in range(3)], [1, 1, 1])
        self.assert_times([link.leave(0.002, 752), link.leave(0.004, 1504)], [3, 10])

    def test_a_recording_starts_anew(self):
        link = self.recorded()
        link.begin(5.0)
        self.assert_times([link.leave(5.0, 1504)], [5001])
        self.assertEqual(link.capacity(0.0105), 4 * 1504)

    def test_the_queue_of_a_recording_is_limited_in_bytes(self):
        link = self.recorded()
        taken = sum(link.leave(0, 1504) is not None for _ in range(300))
        self.assertEqual(taken, emulator.MAX_QUEUE_BYTES // 1504)

    def test_a_rate_serialises_and_drops_after_its_queue(self):
        link = emulator.ConstantRate(100e6 / 8)
        self.assert_times([link.leave(0, 1250), link.leave(0, 1250)], [0.1, 0.2])
        self.assert_times([link.leave(9, 1250)], [9000.1])
        link = emulator.ConstantRate(1e6)
        taken = sum(link.leave(0, 1000) is not None for _ in range(300))
        self.assertAlmostEqual(taken, 100, delta=1)

    def test_loss_uses_the_link_and_order_is_kept(self):
        way = emulator.Direction(emulator.ConstantRate(1e9), 0.05, 0.05, 7)
        for n in range(20_000):
            way.take(n / 1000, str(n).encode())
        self.assertAlmostEqual(way.lost / 20_000, 0.05, delta=0.005)
        sent = []
        way.deliver(10.0, sent.append)
        self.assertEqual(sent, sorted(sent, key=int))
        self.assertGreater(way.due(), 10.0)
        self.assertEqual(way.counts(1)["delivered_bytes"], sum(map(len, sent)))


class Processes(unittest.TestCase):
    def test_a_name_may_contain_parentheses_and_spaces(self):
        fields = ["S"] + ["0"] * 10 + ["100", "20", "3", "4"] + ["0"] * 20
        stat = f"12 (a) b (c) {' '.join(fields)}"
        self.assertAlmostEqual(network.process_seconds(stat), 127 / network.TICKS)

    def test_an_echo_request_has_a_valid_checksum(self):
        head = bytes.fromhex("080000001234ffff")
        total = network.checksum(head)
        whole = head[:2] + total.to_bytes(2, "big") + head[4:]
        self.assertEqual(network.checksum(whole), 0)

    def test_events_are_counted_across_pieces_and_folders_are_not(self):
        reading, writing = os.pipe()
        events = tools.Events(SimpleNamespace(stdout=os.fdopen(reading, "rb")))
        line = b'{"event":"file_done","size":5,"name":"a"}\n'
        os.write(writing, line + b'{"event":"file_done","name":"f","size":0,"n":1}\n' + line[:20])
        self.assertEqual(events.wait(tools.Rft.done, 2, 0.05), 1)
        os.write(writing, line[20:])
        self.assertEqual(events.wait(tools.Rft.done, 1, 5), 0)
        os.close(writing)
        self.assertEqual(events.wait(tools.Rft.done, 3, 5), 3)
        events.child.stdout.close()


    def test_versions_are_without_those_of_libraries(self):
        self.assertEqual(tools.first_line("rsync  version 3.2.7  protocol version 32\nmore"),
                         "rsync 3.2.7")
        self.assertEqual(tools.first_line("OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.19"),
                         "OpenSSH_9.2p1 Debian-2")
        self.assertEqual(tools.first_line(""), "?")


class Rows(unittest.TestCase):
    def test_every_row_has_a_name_of_its_own(self):
        with tempfile.TemporaryDirectory() as folder:
            recordings = rows.recordings(None, Path(folder))
            for extent in ("quick", "standard", "full"):
                names = [row.name for row in rows.rows(extent, recordings)]
                self.assertEqual(len(names), len(set(names)), extent)
                if extent == "standard":
                    self.assertEqual(set(tables.README_WORK) - set(names), set())

    def test_values_and_bounds(self):
        link = rows.Link(100, 50, 1)
        row = rows.big(100_000_000, link)
        self.assertEqual(row.value(10), 10)
        self.assertAlmostEqual(row.best(), 11.8, delta=0.1)
        half = {"there": {"delivered_bytes": 50_000_000, "capacity_bytes": 200_000_000}}
        self.assertAlmostEqual(row.upper_bound(half), 50 / row.limit)
        row.score = "%"
        self.assertEqual((row.value(10, half), row.upper_bound(half)), (50, 25))


class Results(unittest.TestCase):
    def test_a_stopped_run_makes_the_median_a_bound(self):
        result = {}
        for value in (3, 1, 2):
            measure.add(result, {"value": value})
        self.assertEqual(result["median"], 2)
        measure.add(result, {"below": 0.5})
        self.assertEqual((result.get("median"), result["below"]), (None, 3))

    def test_a_row_is_resumed_where_it_stopped(self):
        row = SimpleNamespace(name="work", make=lambda folder: None)
        used = [SimpleNamespace(name=name, refuses=lambda row: None) for name in "ab"]
        results, order = {"a": {"runs": [{"value": 1}]}}, []

        def one(row, tool, *rest):
            order.append(tool.name)
            return {"value": 2}

        def go(rounds, deadline):
            with tempfile.TemporaryDirectory() as base, mock.patch("measure.measure", one):
                return measure.measure_row(row, used, rounds, None, base, results, deadline,
                                           lambda *words: None)
        self.assertFalse(go(2, 0))
        self.assertEqual(order, [])
        self.assertTrue(go(2, float("inf")))
        self.assertEqual(order, ["b", "a", "b"])
        self.assertTrue(go(2, 0))


def report():
    def result(*values):
        runs = [{"value": value, "cpu": [1.0, value]} for value in values]
        return {"runs": runs, "median": values[0]}
    tool = {"missing": None, "version": "1.0", "note": "", "rival": True}
    fast = {"work": "big", "score": "MB/s", "kind": "Ethernet", "tools": {
        "rft": result(100), "rsync over ssh": result(90.4), "bare rsyncd": result(900)}}
    short = {"work": "tiny", "score": "ms", "kind": "Ethernet", "tools": {
        "rft": result(2), "rsync over ssh": result(1), "bare rsyncd": {"note": "left out"}}}
    mobile = {"work": "LTE", "score": "%", "kind": "Recording", "tools": {
        "rft": {"runs": [{"value": 80, "cpu": [1, 1], "ping": [50, 100]}], "median": 80},
        "rsync over ssh": {"runs": [{"below": 3}], "below": 3}}}
    return {"when": "2026-11-02T00:00:00Z", "commit": "abc",
            "machine": {"system": "Linux-6.1-x", "processor": "P", "cores": 2, "files": "/tmp"},
            "tools": {"rft": tool, "rsync over ssh": tool, "bare rsyncd": tool | {"rival": False},
                      "croc": tool | {"missing": "not installed"}},
            "rows": [fast, short, mobile]}


class Tables(unittest.TestCase):
    def test_the_best_rival_is_bold_and_the_lost_rows_are_named(self):
        text = tables.everything(report(), padded=False)
        self.assertIn("| big | MB/s | **100** | 90.4 | 900 |", text)
        self.assertIn("| tiny | ms | 2 | **1** | |", text)
        self.assertIn("| LTE | % of the link | **80** | < 3 |", text)
        self.assertIn("| ping beside it, p50 / p95 | ms | 50 / 100 | |", text)
        self.assertIn("| big | 1.00 + 100.00 | 1.00 + 90.40 | 1.00 + 900.00 |", text)
        self.assertIn("tiny (rsync over ssh: 1 ms, rft: 2)", text)
        self.assertIn("but faster: big (bare rsyncd: 900 MB/s, rft: 100)", text)
        self.assertIn("Missing on this machine: croc (not installed)", text)
        self.assertIn("2 November 2026", text)

    def test_rows_without_figures_are_left_out(self):
        partial = report()
        partial["rows"][2]["tools"] = {"rft": {"note": "left out"}}
        for text in (tables.everything(partial), tables.headlines(partial)):
            self.assertNotIn("| LTE", text)

    def test_a_run_without_losses_says_so(self):
        won = copy.deepcopy(report())
        won["rows"] = won["rows"][:1]
        said = " ".join(tables.everything(won).split())
        self.assertIn("session is up, no other tool is ahead.", said)

    def test_the_start_of_the_process_is_compared_too(self):
        cold = copy.deepcopy(report())
        cold["rows"] = cold["rows"][:1]
        cold["tools"]["rft --drain"] = cold["tools"]["rft"]
        for median, said in ((90, "counted, as the others' is, another tool is ahead in: big (rsync "
                                  "over ssh: 90.4 MB/s, rft --drain: 90)"),
                             (95, "counted, as the others' is, no other tool is ahead.")):
            cold["rows"][0]["tools"]["rft --drain"] = {"median": median, "runs": [{}]}
            text = " ".join(tables.everything(cold).split())
            self.assertIn(said, text)

    def test_the_documents_have_a_place_for_the_tables(self):
        with tempfile.TemporaryDirectory() as root:
            root = Path(root)
            (root / "docs").mkdir()
            for name in ("README.md", "docs/performance.md"):
                shutil.copy(rows.ROOT / name, root / name)
            written = list(tables.write(report(), root))
            self.assertEqual(len(written), 2)
            for path in written:
                text = path.read_text()
                self.assertIn("2 November 2026", text)
                self.assertEqual(list(tables.write(report(), root)), written)
                self.assertEqual(path.read_text(), text, "a second time changes nothing")

    def test_text_outside_the_markers_stays(self):
        text = "before\n<!-- bench: a -->\nold\n<!-- bench: end -->\nafter\n"
        self.assertEqual(tables.replaced(text, "a", "new"),
                         text.replace("old", "\nnew"))
        with self.assertRaises(tables.MissingMarker):
            tables.replaced(text, "b", "new")


INSIDE = """
import network, subprocess, sys, time
with network.network() as both:
    with both.emulated({"rate": 1e6, "delay_ms": 20, "seed": 1}) as meter:
        before = both.right.cpu_seconds()
        burn = "import time\\nwhile time.process_time() < 0.2: pass"
        meter.begin()
        with both.right.process([sys.executable, "-c", burn]) as child:
            both.right.wait(child, 60)
        time.sleep(0.3)
        counts, pings = meter.end()
        print(min(pings), counts["there"]["delivered_bytes"])
        both.right.run([sys.executable, "-c", burn], 60)
        with both.right.process([sys.executable, "-c", burn + "\\ntime.sleep(60)"]):
            while both.right.cpu_seconds() - before < 0.6:
                time.sleep(0.1)
            both.right.end_others(set())
            while list(both.right.living()):
                time.sleep(0.1)
        print(both.right.cpu_seconds() - before)
    with both.emulated({"rate": 1e6, "delay_ms": 20, "seed": 1}) as meter:
        meter.begin()  # interrupted: the ping must not keep this program from its end
"""


class Namespaces(unittest.TestCase):
    def test_an_emulated_link_delays_and_cpu_time_is_counted(self):
        probe = ["ip", "link", "add", "rft-probe", "type", "veth", "peer", "name", "rft-probe2"]
        if subprocess.run(["unshare", "--net", *probe], capture_output=True).returncode:
            self.skipTest("no network namespaces")
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            self.skipTest("no /dev/net/tun")
        done = subprocess.run(["unshare", "--net", sys.executable, "-c", INSIDE], cwd=HERE,
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        ping, delivered, cpu = map(float, done.stdout.split())
        self.assertGreaterEqual(ping, 40)
        self.assertGreater(delivered, 0)
        self.assertGreaterEqual(cpu, 0.6)


if __name__ == "__main__":
    unittest.main()
