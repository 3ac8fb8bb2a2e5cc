//! The text is parsed back by the rules of OpenMetrics 1.0 and of Prometheus' text format 0.0.4.

use super::*;
use crate::daemon::tests::sample;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The samples of a text by name and labels, and the types of the families.
#[derive(Debug, Default)]
struct Parsed {
    samples: BTreeMap<(String, BTreeMap<String, String>), f64>,
    types: BTreeMap<String, String>,
}

impl Parsed {
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Parses `key="value",...}` and returns what follows.
fn labels(mut text: &str) -> (BTreeMap<String, String>, &str) {
    let mut found = BTreeMap::new();
    loop {
        let (key, rest) = text.split_once("=\"").unwrap();
        assert!(is_name(key), "{key:?}");
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (end, '"') => break end,
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("an unknown escape: {c}"),
                }),
                (_, '\n') => panic!("a label that is not closed in its line"),
                (_, c) => value.push(c),
            }
        };
        assert!(found.insert(key.to_owned(), value).is_none(), "{key} twice");
        match rest[end + 1..].split_at(1) {
            (",", rest) => text = rest,
            ("}", rest) => return (found, rest),
            other => panic!("{other:?}"),
        }
    }
}

fn parse(text: &str, format: Format) -> Parsed {
    let mut parsed = Parsed::default();
    let (mut helps, mut family) = (BTreeSet::new(), String::new());
    let body = match format {
        Format::OpenMetrics => text.strip_suffix("# EOF\n").unwrap(),
        Format::Text => text,
    };
    // Not lines(), which also takes a carriage return for the end of a line.
    for line in body.strip_suffix('\n').unwrap().split('\n') {
        if let Some(comment) = line.strip_prefix("# ") {
            let (kind, rest) = comment.split_once(' ').unwrap();
            let (name, rest) = rest.split_once(' ').unwrap();
            assert!(is_name(name), "{line:?}");
            match kind {
                "HELP" => assert!(helps.insert(name.to_owned()) && rest.ends_with('.'), "{line:?}"),
                "TYPE" => {
                    name.clone_into(&mut family);
                    assert!(parsed.types.insert(name.into(), rest.into()).is_none(), "{line:?}");
                }
                _ => panic!("{line:?}"),
            }
            continue;
        }
        let end = line.find(['{', ' ']).unwrap();
        let (name, rest) = line.split_at(end);
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest),
            None => (BTreeMap::new(), rest),
        };
        let value: f64 = value.strip_prefix(' ').unwrap().parse().unwrap();
        let suffix = match (format, parsed.types[&family].as_str()) {
            (Format::OpenMetrics, "counter") => "_total",
            (Format::OpenMetrics, "info") => "_info",
            (_, "counter" | "gauge") => "",
            other => panic!("{other:?}"),
        };
        assert_eq!(name, format!("{family}{suffix}"), "a sample belongs to the family before it");
        assert!(is_name(name) && value.is_finite(), "{line:?}");
        assert!(parsed.samples.insert((name.into(), labels), value).is_none(), "twice: {line:?}");
    }
    assert_eq!(helps, parsed.types.keys().cloned().collect());
    parsed
}

fn text(status: Status, format: Format) -> String {
    encode(&Arc::new(status), UNIX_EPOCH + Duration::from_millis(1500), format).unwrap()
}

fn of(status: Status) -> Parsed {
    let open = parse(&text(status.clone(), Format::OpenMetrics), Format::OpenMetrics);
    let plain = parse(&text(status, Format::Text), Format::Text);
    assert_eq!(open.samples, plain.samples);
    assert_eq!(plain.types["rft_files_total"], "counter");
    open
}

#[test]
fn the_text_has_the_values_of_the_snapshot() {
    let parsed = of(sample());
    let (peer, send) = (("peer", "bob"), ("direction", "send"));
    for (name, labels, value) in [
        ("rft_build_info", &[("version", "1.2.3")][..], 1.0),
        ("rft_start_time_seconds", &[], 1.5),
        ("rft_files_total", &[peer, send], 3.0),
        ("rft_folders_total", &[peer, send], 1.0),
        ("rft_bytes_total", &[peer, send], 100.0),
        ("rft_lifetime_files", &[peer, send], 303.0),
        ("rft_lifetime_folders", &[peer, send], 12.0),
        ("rft_lifetime_bytes", &[peer, send], 1.2e9),
        ("rft_backlog_files", &[peer, send], 28.0),
        ("rft_backlog_bytes", &[peer, send], 17e6),
        ("rft_backlog_files", &[peer, ("direction", "receive")], 0.0),
        ("rft_transfer_rate_bytes_per_second", &[peer, send], 2.1e6),
        ("rft_last_transfer_timestamp_seconds", &[peer, send], 1_772_406_840.0),
        ("rft_connected", &[peer], 1.0),
        ("rft_paused", &[peer], 0.0),
        ("rft_in_flight_files", &[peer], 1.0),
        ("rft_session_age_seconds", &[peer], 259_200.0),
        ("rft_silent_seconds", &[peer], 0.0),
        ("rft_rtt_seconds", &[peer], 0.0411),
        ("rft_path_loss_ratio", &[peer], 0.005),
        ("rft_path_rate_bytes_per_second", &[peer], 12.3e6),
        ("rft_path_mtu_bytes", &[peer], 1452.0),
        ("rft_bottleneck", &[peer, send, ("limit", "path")], 1.0),
        ("rft_bottleneck", &[peer, send, ("limit", "disk")], 0.0),
        ("rft_waiting_entries", &[peer, ("reason", "left_alone")], 108.0),
        ("rft_waiting_entries", &[peer, ("reason", "ready")], 0.0),
    ] {
        assert_eq!(parsed.value(name, labels), Some(value), "{name} {labels:?}");
    }
    let set = parsed.samples.iter().filter(|((name, _), _)| name == "rft_bottleneck");
    assert_eq!(set.map(|(_, value)| value).sum::<f64>(), 2.0, "one limit for each direction");
    let never = [peer, ("direction", "receive")];
    assert_eq!(parsed.value("rft_last_transfer_timestamp_seconds", &never), None);
}

#[test]
fn values_that_are_not_known_are_left_out() {
    let mut status = sample();
    status.peers[0].session = None;
    status.peers[0].receive.backlog = None;
    let parsed = of(status);
    assert_eq!(parsed.value("rft_connected", &[("peer", "bob")]), Some(0.0));
    for name in ["rft_rtt_seconds", "rft_session_age_seconds", "rft_silent_seconds"] {
        assert_eq!(parsed.value(name, &[("peer", "bob")]), None, "{name}");
        assert_eq!(parsed.types[name], "gauge");
    }
    let receive = [("peer", "bob"), ("direction", "receive")];
    assert_eq!(parsed.value("rft_backlog_files", &receive), None);
    assert_eq!(parsed.value("rft_files_total", &receive), Some(0.0));
}

#[test]
fn no_label_has_a_value_of_the_peer() {
    let mut status = sample();
    let session = status.peers[0].session.as_mut().unwrap();
    (session.version, session.host) = ("evil-version".into(), "evil-host".into());
    session.id = "evil-id".into();
    for format in [Format::OpenMetrics, Format::Text] {
        let text = text(status.clone(), format);
        assert!(!text.contains("evil") && !text.contains("192.0.2.7"), "{text}");
        // Nor the names of files.
        assert!(!text.contains("beach") && !text.contains("report"), "{text}");
    }
}

#[test]
fn the_document_lists_exactly_these_names() {
    let document = include_str!("../../../docs/metrics.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `rft_"));
    let listed: BTreeSet<_> =
        rows.map(|row| format!("rft_{}", row.split(['`', '{']).next().unwrap())).collect();
    let parsed = of(sample());
    let names: BTreeSet<_> = parsed.samples.keys().map(|(name, _)| name.clone()).collect();
    assert_eq!(listed, names);
}

proptest! {
    #[test]
    fn any_name_of_a_peer_is_one_label(name in any::<String>()) {
        let mut status = serde_json::to_value(sample()).unwrap();
        status["peers"][0]["name"] = name.as_str().into();
        let status = serde_json::from_value(status).unwrap();
        prop_assert_eq!(of(status).value("rft_connected", &[("peer", &name)]), Some(1.0));
    }
}
