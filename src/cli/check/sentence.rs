//! The steps of `rft check` as sentences, with the command that mends each fault: first those of
//! this host.

mod way;

use crate::cli::output::text;
use rft::check::{FolderKind, Found, LedgerState, PortState, Usable};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Duration;

/// A step for people and for programs.
pub(crate) struct Said {
    /// The finding.
    pub(crate) message: String,
    /// The command or action that mends it.
    pub(crate) fix: Option<String>,
    /// The numbers, for `--json`.
    pub(crate) values: Map<String, Value>,
}

impl Said {
    fn new(message: impl Into<String>, values: Value) -> Self {
        let values = if let Value::Object(values) = values { values } else { Map::new() };
        Self { message: message.into(), fix: None, values }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// The sentence of one step.
pub(crate) fn of(found: &Found) -> Said {
    match found {
        Found::Folder { kind, path, usable } => folder(*kind, path, usable),
        Found::State { path, ledger, set_aside, removing } => {
            state(path, ledger, *set_aside, *removing)
        }
        Found::Space { .. } | Found::Inodes { .. } | Found::Disk { .. } | Found::DiskFailed(_) => {
            disk(found)
        }
        Found::OpenFiles { .. } | Found::Watches { .. } | Found::Clock { .. } => system(found),
        Found::Buffers { .. } | Found::Offload { .. } => udp(found),
        Found::Port { port, state } => own_port(*port, state),
        found => way::of(found),
    }
}

fn folder(kind: FolderKind, path: &Path, usable: &Usable) -> Said {
    let name = match kind {
        FolderKind::Outgoing => "Outgoing",
        FolderKind::Incoming => "Incoming",
        FolderKind::State => "the state folder",
    };
    let shown = path.display().to_string();
    let values = json!({ "path": shown });
    match usable {
        Usable::Yes => Said::new(format!("{name} can be written to: {shown}"), values),
        Usable::Missing => Said::new(format!("{name} will be created: {shown}"), values),
        Usable::No(reason) => {
            let fix = match cfg!(windows) {
                true => format!("icacls \"{shown}\""),
                false => format!("ls -ld {shown}; chown or chmod it for the user that runs rft"),
            };
            Said::new(format!("{name} cannot be used: {shown}: {reason}"), values).fix(fix)
        }
    }
}

fn state(path: &Path, ledger: &LedgerState, set_aside: usize, removing: usize) -> Said {
    let shown = path.display().to_string();
    let (word, text) = match ledger {
        LedgerState::Missing => ("missing", "there is no ledger yet".to_owned()),
        LedgerState::Whole => ("whole", "the ledger is whole".to_owned()),
        LedgerState::InUse => ("in_use", "a running rft uses it".to_owned()),
        LedgerState::NotRead => {
            ("not_read", "the ledger is large, rft verifies it at its start".to_owned())
        }
        LedgerState::Damaged(reason) => ("damaged", format!("the ledger is damaged ({reason})")),
    };
    let values =
        json!({ "path": shown, "ledger": word, "set_aside": set_aside, "removing": removing });
    let mut message = format!("{shown}: {text}");
    let mut fixes = Vec::new();
    if matches!(ledger, LedgerState::Damaged(_)) {
        fixes.push(
            "start rft: it moves the ledger aside and begins a new one; a file may arrive twice"
                .to_owned(),
        );
    }
    if set_aside > 0 {
        message.push_str(&format!("; damaged ledgers that were set aside: {set_aside}"));
        fixes.push(format!("rm {shown}/ledger.redb.damaged*"));
    }
    if removing > 0 {
        message.push_str(&format!("; files whose removal was interrupted: {removing}"));
        fixes.push("start rft: it settles them".to_owned());
    }
    let mut said = Said::new(message, values);
    said.fix = (!fixes.is_empty()).then(|| fixes.join("; "));
    said
}

fn disk(found: &Found) -> Said {
    match found {
        Found::Space { free, needed } => Said::new(
            format!(
                "{} are free for Incoming; {} must remain (--min-free)",
                text::bytes(*free),
                text::bytes(*needed)
            ),
            json!({ "free": free, "needed": needed }),
        )
        .fix(if cfg!(windows) {
            "make room on that volume"
        } else {
            "make room there: df -h"
        }),
        Found::Inodes { free, total } => Said::new(
            format!(
                "{} of {} inodes are free for Incoming",
                text::count(*free),
                text::count(*total)
            ),
            json!({ "free": free, "total": total }),
        )
        .fix("remove small files there: df -i"),
        Found::Disk { write_rate, sync } => Said::new(
            format!(
                "the disk of Incoming writes {} and syncs a small file in {}",
                text::rate(*write_rate),
                millis(*sync)
            ),
            json!({ "write_rate": write_rate.round(), "sync_ms": as_millis(*sync) }),
        )
        .fix("choose a faster disk with --incoming; what else writes to this one: iostat -x 1"),
        Found::DiskFailed(reason) => Said::new(
            format!("the disk of Incoming cannot be written to: {reason}"),
            json!({ "reason": reason }),
        )
        .fix("see the system's log: dmesg"),
        _ => Said::new(found.step(), Value::Null),
    }
}

fn system(found: &Found) -> Said {
    match found {
        Found::OpenFiles { limit } => Said::new(
            format!("a program may open {} files", text::count(*limit)),
            json!({ "limit": limit }),
        )
        .fix("ulimit -n 4096, or LimitNOFILE=4096 in the service"),
        Found::Watches { folders, max_watches, max_instances } => Said::new(
            format!(
                "folders in Outgoing: {}; inotify allows {} watches and {} watchers to a user",
                text::count(*folders),
                text::count(*max_watches),
                text::count(*max_instances)
            ),
            json!({ "folders": folders, "max_user_watches": max_watches, "max_user_instances": max_instances }),
        )
        .fix("sysctl -w fs.inotify.max_user_watches=1048576 fs.inotify.max_user_instances=1024"),
        Found::Clock { ahead, synchronised } => {
            let text = match (ahead, synchronised) {
                (Some(ahead), _) => {
                    format!("the clock was set back: a file in .rft is {} in the future", text::span(*ahead))
                }
                (None, Some(false)) => "no time server keeps the clock right".to_owned(),
                (None, Some(true)) => "a time server keeps the clock right".to_owned(),
                (None, None) => "the clock has not been set back".to_owned(),
            };
            let ahead = ahead.map_or(0.0, |ahead| ahead.as_secs_f64());
            Said::new(text, json!({ "ahead_seconds": ahead, "synchronised": synchronised }))
                .fix("timedatectl set-ntp true; timedatectl status")
        }
        _ => Said::new(found.step(), Value::Null),
    }
}

fn udp(found: &Found) -> Said {
    match found {
        Found::Buffers { receive, send, wanted } => Said::new(
            format!(
                "the system grants UDP buffers of {} KiB (receive) and {} KiB (send)",
                receive >> 10,
                send >> 10
            ),
            json!({ "receive": receive, "send": send, "wanted": wanted }),
        )
        .fix(format!("sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}")),
        Found::Offload { gso, gro } => Said::new(
            format!(
                "one system call sends up to {gso} packets (GSO) and receives up to {gro} (GRO)"
            ),
            json!({ "gso": gso, "gro": gro }),
        )
        .fix("use a kernel of 4.18 or later; a container or emulator may hide the option"),
        _ => Said::new(found.step(), Value::Null),
    }
}

fn own_port(port: u16, state: &PortState) -> Said {
    let who = match cfg!(windows) {
        true => format!("Get-NetUDPEndpoint -LocalPort {port}"),
        false => format!("ss -ulpn sport = :{port}"),
    };
    let (word, text, fix) = match state {
        PortState::Free => ("free", format!("UDP {port} is free on this host"), String::new()),
        PortState::Running => (
            "running",
            format!("UDP {port} is taken, and an rft runs in these folders"),
            String::new(),
        ),
        PortState::Taken => (
            "taken",
            format!("another program has UDP {port}: rft could dial, but not be dialled"),
            format!("find it: {who}"),
        ),
        PortState::Refused(reason) => ("refused", reason.clone(), "see --bind".to_owned()),
    };
    Said::new(text, json!({ "port": port, "state": word })).fix(fix)
}

fn as_millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1000.0
}

fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rft::check::{Level, PathSample};
    use rft::hindrance::Hindrance;
    use std::net::SocketAddr;

    /// Every step that does not pass names a remedy.
    #[test]
    fn whatever_is_wrong_has_its_remedy() {
        let to: SocketAddr = "192.0.2.7:4000".parse().unwrap();
        let rtt = Duration::from_millis(3);
        let wrong = [
            Found::Folder {
                kind: FolderKind::Incoming,
                path: "in".into(),
                usable: Usable::No("x".into()),
            },
            Found::State {
                path: ".rft".into(),
                ledger: LedgerState::Damaged("x".into()),
                set_aside: 1,
                removing: 1,
            },
            Found::Space { free: 1, needed: 2 },
            Found::Inodes { free: 0, total: 2 },
            Found::Disk { write_rate: 1.0, sync: rtt },
            Found::DiskFailed("x".into()),
            Found::OpenFiles { limit: 64 },
            Found::Watches { folders: 9, max_watches: 8, max_instances: 1 },
            Found::Clock { ahead: Some(Duration::from_secs(60)), synchronised: None },
            Found::Buffers { receive: 1, send: 1, wanted: 4 },
            Found::Port { port: 4000, state: PortState::Taken },
            Found::NameUnknown { host: "bob".into(), reason: "x".into() },
            Found::Route { to, from: Err(Hindrance::NoRoute) },
            Found::Answer { to, result: Err(Hindrance::NoAnswer), quic: false },
            Found::Answer { to, result: Err(Hindrance::PortClosed), quic: false },
            Found::Answer { to, result: Ok(rtt), quic: false },
            Found::Version { to, result: Err(Hindrance::OtherVersion) },
            Found::Path {
                to,
                sample: PathSample { sent: 20, lost: 9, min_rtt: rtt, median_rtt: rtt },
            },
            Found::Mtu { to, mtu: 1228 },
        ];
        for found in wrong {
            let said = of(&found);
            assert_ne!(found.level(), Level::Pass, "{found:?}");
            assert!(said.fix.is_some_and(|fix| fix.len() > 5), "{found:?}");
            assert!(!said.message.is_empty() && !said.values.is_empty(), "{found:?}");
        }
    }
}
