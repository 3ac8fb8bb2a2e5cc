"use strict";

// Asks for the state once a second and shows it. The words are those of `rft status`
// (src/cli/output/); a test there compares them.

const INTERVAL = 1000;
// An answer that has not come after this time is told of; after the other it is given up.
const LATE = 3000;
const TIMEOUT = 8000;
// Files in flight that are shown for each direction.
const MAX_FILES = 8;

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const LIMITED_BY = {
  disk: "this disk",
  peer_disk: "the peer's disk",
  processor: "this processor",
  peer_processor: "the peer's processor",
  rate_limit: "--limit-rate",
  peer_rate_limit: "the peer's --limit-rate",
};
const ENDS = {
  stopped: "stopped here",
  peer_left: "the peer left",
  superseded: "a newer session took its place",
  duplicate: "another connection to the same peer is kept",
  occupied: "the peer keeps a session with another installation",
  copied: "the peer keeps a session with another program that has a copy of this state folder",
  protocol_broken_here: "the peer says that this side broke the protocol; run the same version of rft on both sides",
  protocol_broken_by_peer: "the peer broke the protocol; run the same version of rft on both sides",
  timed_out: "the peer stopped answering",
};
// Why there is no session; `rft status` and `rft check` say more.
const HINDRANCES = {
  name_unknown: "its name does not resolve any more",
  no_zone: "a link-local address needs its zone",
  no_route: "this host has no route to it",
  host_unreachable: "it cannot be reached, says the network",
  prohibited: "a firewall forbids UDP to it",
  port_closed: "it is up, but nothing listens on that UDP port: is rft started there?",
  path_too_small: "the path carries no large packets",
  no_answer: "no answer: that host is down, or a firewall drops UDP",
  other_version: "it answers, but with another version of rft",
  no_handshake: "it answers, but no handshake is completed",
  wrong_password: "it does not accept the password",
  occupied: "it keeps a session with another installation",
};

// Characters that are invisible, or that reorder the text around them (Unicode TR 36).
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

function printable(text) {
  return text.replace(UNPRINTABLE, (c) => {
    const hex = c.charCodeAt(0).toString(16);
    return c.charCodeAt(0) < 0x80 ? "\\x" + hex.padStart(2, "0") : "\\u{" + hex + "}";
  });
}

// Three digits, in powers of 1000.
function bytes(n) {
  if (n < 1000) return n + " B";
  let value = n / 1000;
  let unit = 0;
  while (value >= 999.5) {
    value /= 1000;
    unit += 1;
  }
  const digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return value.toFixed(digits) + " " + ["kB", "MB", "GB", "TB", "PB", "EB"][unit];
}

const rate = (n) => bytes(n) + "/s";
const count = (n) => n.toLocaleString("en-US");
const two = (n) => String(n).padStart(2, "0");
const plural = (n, word) => count(n) + " " + word + (n === 1 ? "" : "s");

function span(seconds) {
  const s = Math.floor(seconds);
  if (s < 1) return seconds.toFixed(2) + " s";
  if (s < 10) return (Math.floor(seconds * 10) / 10).toFixed(1) + " s";
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + ":" + two(s % 60);
  return Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) + ":" + two(s % 60);
}

const countdown = (seconds) => (seconds < 60 ? Math.floor(seconds) + " s" : span(seconds));

function age(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 86400) return Math.floor(s / 3600) + " h";
  return Math.floor(s / 86400) + " d";
}

function rtt(seconds) {
  const ms = seconds * 1000;
  return ms.toFixed(ms < 9.95 ? 1 : 0) + " ms";
}

function percent(share) {
  const value = share * 100;
  return value.toFixed(value < 9.95 ? 1 : 0) + " %";
}

// By the clock and in the time zone of the browser.
const timeOfDay = (date) => two(date.getHours()) + ":" + two(date.getMinutes());

function shortTime(text, now) {
  const time = new Date(text);
  if (time.toDateString() === now.toDateString()) return timeOfDay(time);
  const day = MONTHS[time.getMonth()] + " " + time.getDate();
  if (time.getFullYear() === now.getFullYear()) return day + " " + timeOfDay(time);
  return time.getFullYear() + "-" + two(time.getMonth() + 1) + "-" + two(time.getDate());
}

function about(version, host) {
  if (version && host) return "rft " + version + " on the host " + host;
  return version ? "rft " + version : host && "on the host " + host;
}

function connection(peer, now) {
  const session = peer.session;
  if (session) {
    const connected = "connected to " + session.address + " for " + age(session.age_seconds);
    const parts = [connected, "since " + shortTime(session.since, now)];
    if (session.silent_seconds !== null) {
      parts.unshift("no answer for " + countdown(session.silent_seconds), "dialling");
    }
    const peers = about(printable(session.version), printable(session.host));
    return parts.concat(peers || []).join(", ");
  }
  const apart = peer.no_session;
  const cause = apart && apart.cause;
  const known = cause in HINDRANCES ? HINDRANCES[cause] : cause;
  const reason = cause ? ": " + apart.address + ": " + known : "";
  const end = peer.last_end;
  if (!end) return "not connected yet" + reason;
  const why = end.reason in ENDS ? ENDS[end.reason] : end.detail || end.reason;
  const ago = age(end.ago_seconds) + " ago";
  return "not connected" + reason + ", the last session ended " + ago + ": " + printable(why);
}

function state(peer) {
  if (!peer.session) return ["not connected", "bad"];
  return peer.session.silent_seconds === null ? ["connected", "good"] : ["no answer", "warn"];
}

// What limits the speed, or why nothing crosses.
function sentence(limit, isSend, session) {
  if (limit === "nothing_to_send") return isSend ? "nothing to send" : "nothing to receive";
  if (limit === "waiting") return session ? "waiting" : "waiting for the peer";
  if (limit === "starting") return "starting";
  if (limit === "path") {
    // This side's estimate and loss are about its own direction.
    if (!isSend || !session) return "limited by the path";
    const about = session.path.rate > 0 ? "about " + rate(session.path.rate) + ", " : "";
    return "limited by the path (" + about + percent(session.path.loss) + " lost)";
  }
  if (limit === "check") return "waits for the check here (--quarantine)";
  if (limit === "peer_check") return "waits for the receiver's check (--quarantine)";
  return "limited by " + (LIMITED_BY[limit] || "something else");
}

function totals(sum) {
  const files = plural(sum.files, "file") + " (" + bytes(sum.bytes) + ")";
  return sum.folders > 0 ? files + ", " + plural(sum.folders, "folder") : files;
}

function why(waiting) {
  const setback = waiting.setback_text === undefined ? undefined : printable(waiting.setback_text);
  const after = (text) => text + " in " + Math.ceil(waiting.seconds) + " s";
  const detail = waiting.setback === "unreadable" ? ": " + setback : "";
  switch (waiting.reason) {
    case "settling":
      return "it was written a moment ago; it settles for " + span(waiting.seconds);
    case "folder":
      return "a folder, sent after its contents";
    case "ready":
      return "ready to be sent";
    case "in_flight":
      return "in flight";
    case "cleaning_up":
      return "received; it is being removed";
    case "open":
      return "waiting: a program has it open";
    case "delivered_open":
      return "received; waiting: a program has it open";
    case "lingering":
      return after("received; the folder is removed");
    case "unfinished":
      return "it holds an unfinished file, which is left alone";
    case "left_alone":
      return "left alone: the name of an unfinished file";
    case "backoff":
      return after((setback || "its delivery failed") + "; tried again");
    case "occupied":
      return after((setback || "the peer has something else at its path") + "; asked again");
    case "unreadable":
      return after("it cannot be read" + detail + "; tried again");
    case "refused":
      return (
        "refused: " + (setback || "the peer does not take it") + "; sent again when it changes"
      );
    default:
      return "it waits";
  }
}

// An element; a text becomes a text node, never markup.
function element(kind, name, ...children) {
  const node = document.createElement(kind);
  if (name) node.className = name;
  node.append(...children.filter((child) => child !== null));
  return node;
}

// A text from elsewhere: its direction of writing does not affect its surroundings.
const foreign = (text) => element("bdi", "", printable(text));

function file(flight) {
  const bar = element("progress", "");
  bar.setAttribute("max", Math.max(flight.size, 1));
  bar.setAttribute("value", flight.size === 0 ? 1 : flight.bytes);
  bar.setAttribute("aria-label", printable(flight.path));
  const numbers = bytes(flight.bytes) + "/" + bytes(flight.size);
  const speed = flight.rate > 0 ? ", " + rate(flight.rate) : "";
  const below = element("span", "quiet", numbers + speed);
  return element("li", "file", foreign(flight.path), bar, below);
}

// `2.10 MB/s, 9 s`; nothing if nothing crosses.
function speedOf(status) {
  if (status.rate === 0) return null;
  const time = status.seconds_left;
  const isShort = time !== null && time < 86400;
  return rate(status.rate) + (isShort ? ", " + countdown(Math.ceil(time)) : "");
}

// The text, without a line break within an option.
function unbroken(text) {
  const whole = (part) => (part.startsWith("--") ? element("span", "whole", part) : part);
  return text.split(/(--[a-z-]+)/).map(whole);
}

function direction(peer, isSend, now) {
  const status = isSend ? peer.send : peer.receive;
  const isIdle = status.limit === "nothing_to_send";
  const isUntold = !isSend && peer.session !== null && status.backlog === null;
  const left = [];
  if (isUntold) left.push("the peer has not told what it has left");
  else {
    if (status.files_left > 0) {
      left.push(count(status.files_left) + " left, " + bytes(status.bytes_left));
    }
    left.push(sentence(status.limit, isSend, peer.session));
  }
  const files = peer.in_flight.filter((flight) => (flight.direction === "send") === isSend);
  const list = element("ul", "", ...files.slice(0, MAX_FILES).map(file));
  if (files.length > MAX_FILES) {
    const more = files.length - MAX_FILES + peer.more_in_flight;
    list.append(element("li", "quiet", "and " + count(more) + " more"));
  }
  const speed = isIdle ? null : speedOf(status);
  const last = status.last === null ? "" : ", last " + shortTime(status.last, now);
  return element(
    "section",
    "",
    element("h3", "", isSend ? "↑ sending" : "↓ receiving"),
    element("p", speed ? "rate" : "rate none", speed || "–"),
    element("p", "", ...unbroken(left.join(", "))),
    files.length > 0 ? list : null,
    element("p", "quiet total", (isSend ? "sent " : "received ") + totals(status.in_all) + last),
  );
}

function waits(peer) {
  const named = peer.waiting.filter((waiting) => waiting.reason !== "in_flight");
  const item = (waiting) => element("li", "", foreign(waiting.path), ": " + why(waiting));
  const items = named.map(item);
  if (peer.more_waiting > 0) {
    items.push(element("li", "quiet", "and " + count(peer.more_waiting) + " more"));
  }
  if (items.length === 0) return null;
  return element("div", "waits", element("h3", "", "waits"), element("ul", "", ...items));
}

function facts(session) {
  const path = session.path;
  const parts = [rtt(path.rtt_seconds), percent(path.loss) + " lost"];
  if (path.rate > 0) parts.push("about " + rate(path.rate));
  parts.push("packets of " + count(path.mtu));
  return element(
    "div",
    "facts quiet",
    element("p", "", "path: " + parts.join(", ")),
    element("p", "", "session: " + printable([session.kx, session.role, session.id].join(", "))),
  );
}

function card(peer, now) {
  const [word, kind] = state(peer);
  const name = element("h2", "", foreign(peer.name));
  return element(
    "article",
    "peer",
    element("div", "name", name, element("span", "state " + kind, word)),
    element("p", "quiet", connection(peer, now)),
    element("div", "directions", direction(peer, true, now), direction(peer, false, now)),
    waits(peer),
    peer.session ? facts(peer.session) : null,
  );
}

function view(status) {
  const now = new Date(status.time);
  const running = "running for " + span(status.uptime_seconds) + ", UDP " + status.local;
  const title = element("h1", "", "rft " + printable(status.version));
  const header = element("header", "", title, element("span", "quiet", running));
  return element("main", "", header, ...status.peers.map((peer) => card(peer, now)));
}

// Changes the old nodes into the new ones: what stays the same stays selected.
function morph(old, next) {
  if (old.nodeName !== next.nodeName) {
    old.replaceWith(next);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name)) old.removeAttribute(name);
  }
  const before = [...old.childNodes];
  const after = [...next.childNodes];
  after.forEach((child, i) => (i < before.length ? morph(before[i], child) : old.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

const place = (id) => document.getElementById(id);

// The last answer: when it came, and its time. When the present question was asked.
let answered = null;
let shown = null;
let asked = Infinity;
let failed = false;
// Ends the pause between two questions.
let wake = () => {};

function show(status) {
  const next = view(status);
  next.id = "state";
  morph(place("state"), next);
  answered = Date.now();
  shown = new Date(status.time);
  const of = status.peers.map((peer) => printable(peer.name) + ": " + state(peer)[0]);
  document.title = [...of, "rft"].join(" – ");
  place("shown").textContent = "state of " + timeOfDay(shown) + ":" + two(shown.getSeconds());
}

// Says when rft no longer answers.
function warn() {
  const alarm = place("alarm");
  const isSilent = failed || Date.now() - asked > LATE;
  alarm.hidden = !isSilent;
  place("state").classList.toggle("old", isSilent && answered !== null);
  if (!isSilent) return;
  const since = answered === null ? "" : " for " + age((Date.now() - answered) / 1000);
  const of = shown === null ? "" : " Above is its " + place("shown").textContent + ".";
  alarm.textContent = "rft has not answered" + since + ". It has ended, or cannot be reached." + of;
}

async function ask() {
  asked = Date.now();
  try {
    const signal = AbortSignal.timeout(TIMEOUT);
    const answer = await fetch("/status.json", { cache: "no-store", signal });
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
    failed = false;
  } catch (error) {
    console.warn(error);
    failed = true;
  }
  warn();
  // The pause between two questions is no silence.
  asked = Infinity;
}

// One question at a time; none while the page is not visible.
async function run() {
  for (;;) {
    if (!document.hidden) await ask();
    await new Promise((done) => {
      wake = done;
      setTimeout(done, INTERVAL);
    });
  }
}

document.addEventListener("visibilitychange", () => wake());
setInterval(warn, INTERVAL);
run();
