//! A snapshot as text for Prometheus. docs/metrics.md has the table of the names.
//!
//! No label has a value that the peer chooses: a peer could make a new time series with each. The
//! name of the peer is this side's.

use crate::status::{
    Bottleneck, Direction, DirectionStatus, PeerStatus, SessionStatus, Status, WaitKind,
};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0, for scrapers that ask for it.
    OpenMetrics,
    /// The text format of Prometheus, which a browser shows too.
    Text,
}

impl Format {
    /// The best one for this `Accept` header.
    pub(super) fn for_accept(accept: &str) -> Self {
        let is_open = |kind: &str| kind.trim().starts_with("application/openmetrics-text");
        if accept.split(',').any(is_open) { Self::OpenMetrics } else { Self::Text }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// The text of a snapshot.
///
/// # Errors
/// Never: a string takes everything.
pub(super) fn encode(
    status: &Arc<Status>,
    started: SystemTime,
    format: Format,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(SnapshotCollector { status: status.clone(), started }));
    let mut text = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut text, &registry)?,
        Format::Text => prometheus_text::encode(&mut text, &registry)?,
    }
    Ok(text)
}

const DIRECTIONS: [(Direction, &str); 2] =
    [(Direction::Send, "send"), (Direction::Receive, "receive")];

/// A metric: its name, its help, and its value if there is one.
type Metric<S, V> = (&'static str, &'static str, fn(&S) -> Option<V>);

/// Since the start of the process, as Prometheus expects it of a counter: it recognises a restart
/// by a count that begins again. The counts of all time may step back by a little after a crash,
/// which would pass for a restart from zero to all of it. So they are gauges.
const COUNTERS: [Metric<DirectionStatus, u64>; 3] = [
    ("rft_files", "Files that are complete, since the start of rft.", |d| {
        Some(d.since_start.files)
    }),
    ("rft_folders", "Folders and links that are complete, since the start of rft.", |d| {
        Some(d.since_start.folders)
    }),
    ("rft_bytes", "Bytes of the complete files, since the start of rft.", |d| {
        Some(d.since_start.bytes)
    }),
];

const DIRECTION_GAUGES: [Metric<DirectionStatus, f64>; 7] = [
    ("rft_lifetime_files", "Files that are complete, since .rft was created.", |d| {
        Some(d.in_all.files as f64)
    }),
    ("rft_lifetime_folders", "Folders and links that are complete, since .rft was created.", |d| {
        Some(d.in_all.folders as f64)
    }),
    ("rft_lifetime_bytes", "Bytes of the complete files, since .rft was created.", |d| {
        Some(d.in_all.bytes as f64)
    }),
    (
        "rft_backlog_files",
        "Files, folders and links that are left; none if the peer has not told.",
        |d| d.backlog.map(|_| d.files_left as f64),
    ),
    ("rft_backlog_bytes", "Bytes that have not crossed yet; none if the peer has not told.", |d| {
        d.backlog.map(|_| d.bytes_left as f64)
    }),
    (
        "rft_transfer_rate_bytes_per_second",
        "Bytes of files a second, over the last three seconds.",
        |d| Some(d.rate as f64),
    ),
    (
        "rft_last_transfer_timestamp_seconds",
        "Unix time at which the last entry was complete; none before the first.",
        |d| d.last.map(unix_seconds),
    ),
];

const PEER_GAUGES: [Metric<PeerStatus, f64>; 3] = [
    ("rft_paused", "Whether the user has paused the sending.", |peer| {
        Some(f64::from(u8::from(peer.paused)))
    }),
    ("rft_connected", "Whether there is a session with the peer.", |peer| {
        Some(f64::from(u8::from(peer.session.is_some())))
    }),
    ("rft_in_flight_files", "Files that have been partly transferred, both ways.", |peer| {
        Some(peer.in_flight.len() as f64 + peer.more_in_flight as f64)
    }),
];

const SESSION_GAUGES: [Metric<SessionStatus, f64>; 6] = [
    ("rft_session_age_seconds", "Age of the session.", |s| Some(s.age.as_secs_f64())),
    (
        "rft_silent_seconds",
        "Time for which the peer has not answered; 0 for less than about 2.5 s.",
        |s| Some(s.silent_for.unwrap_or_default().as_secs_f64()),
    ),
    ("rft_rtt_seconds", "Round-trip time of the path.", |s| Some(s.path.rtt.as_secs_f64())),
    (
        "rft_path_loss_ratio",
        "Share of this side's packets that were lost, over the last seconds with traffic.",
        |s| Some(s.path.loss),
    ),
    (
        "rft_path_rate_bytes_per_second",
        "Rate of the path from this side, as congestion control measures it; none while unknown.",
        |s| (s.path.rate > 0).then_some(s.path.rate as f64),
    ),
    ("rft_path_mtu_bytes", "Size of the largest packets.", |s| Some(s.path.mtu.into())),
];

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A snapshot, which is encoded once.
#[derive(Debug)]
struct SnapshotCollector {
    status: Arc<Status>,
    started: SystemTime,
}

impl Collector for SnapshotCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let version = Info::new([("version", self.status.version.as_str())]);
        let build =
            encoder.encode_descriptor("rft_build", "The program.", None, MetricType::Info)?;
        version.encode(build)?;
        let help = "Unix time of the start of rft.";
        let name = "rft_start_time_seconds";
        let start = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(unix_seconds(self.started)).encode(start)?;
        self.encode_transfers(encoder)?;
        self.encode_sessions(encoder)?;
        self.encode_bottlenecks(encoder)?;
        self.encode_waiting(encoder)
    }
}

impl SnapshotCollector {
    fn encode_transfers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (labels, status) in self.directions() {
                if let Some(value) = value(status) {
                    ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        for (name, help, value) in DIRECTION_GAUGES {
            let mut family = gauge(encoder, name, help)?;
            for (labels, status) in self.directions() {
                push(&mut family, &labels, value(status))?;
            }
        }
        Ok(())
    }

    fn encode_sessions(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in PEER_GAUGES {
            let mut family = gauge(encoder, name, help)?;
            for peer in &self.status.peers {
                push(&mut family, &[("peer", peer.name.as_str())], value(peer))?;
            }
        }
        for (name, help, value) in SESSION_GAUGES {
            let mut family = gauge(encoder, name, help)?;
            for peer in &self.status.peers {
                let value = peer.session.as_ref().and_then(value);
                push(&mut family, &[("peer", peer.name.as_str())], value)?;
            }
        }
        Ok(())
    }

    fn encode_bottlenecks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "1 for what limits the speed now, 0 for the others.";
        let mut family = gauge(encoder, "rft_bottleneck", help)?;
        for ([peer, direction], status) in self.directions() {
            for limit in Bottleneck::ALL {
                let value = f64::from(u8::from(status.limit == limit));
                let labels = [peer, direction, ("limit", limit.as_str())];
                push(&mut family, &labels, Some(value))?;
            }
        }
        Ok(())
    }

    fn encode_waiting(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Entries of Outgoing that are not delivered, by the reason why they wait.";
        let mut family = gauge(encoder, "rft_waiting_entries", help)?;
        for peer in &self.status.peers {
            for kind in WaitKind::ALL {
                let count = peer.waiting_by_reason.get(&kind).copied().unwrap_or_default();
                let labels = [("peer", peer.name.as_str()), ("reason", kind.as_str())];
                push(&mut family, &labels, Some(count as f64))?;
            }
        }
        Ok(())
    }

    /// Both directions of each peer, with their labels.
    fn directions(&self) -> impl Iterator<Item = ([(&str, &str); 2], &DirectionStatus)> {
        self.status.peers.iter().flat_map(|peer| {
            DIRECTIONS.map(|(direction, word)| {
                let labels = [("peer", peer.name.as_str()), ("direction", word)];
                (labels, peer.direction(direction))
            })
        })
    }
}

fn gauge<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)
}

/// Adds a sample, if there is a value.
fn push<const N: usize>(
    family: &mut MetricEncoder<'_>,
    labels: &[(&str, &str); N],
    value: Option<f64>,
) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    ConstGauge::new(value).encode(family.encode_family(labels)?)
}

#[cfg(test)]
mod tests;
