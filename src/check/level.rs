//! How each step ended: the limits below which something is worth a warning.

use super::found::{FolderKind, Found, LedgerState, PortState, Usable};
use std::time::Duration;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Pass,
    /// It works, and something can be better.
    Warn,
    /// An exchange is not possible before this is mended.
    Fail,
}

/// A sync that takes longer delays each batch of small files noticeably.
const SLOW_SYNC: Duration = Duration::from_millis(100);
/// Bytes per second below which a disk is slower than a common link.
const SLOW_DISK: f64 = 10e6;
/// rft needs a few hundred files at its defaults.
const MIN_OPEN_FILES: u64 = 1024;
const MIN_FREE_INODES: u64 = 1000;
/// A receive buffer below this loses packets at a few hundred Mbit/s.
const MIN_BUFFER: usize = 512 << 10;
/// Files in the future by more than this are no rounding.
const MAX_AHEAD: Duration = Duration::from_secs(5);
/// A path below this MTU is a tunnel in a tunnel, or wrongly configured.
const USUAL_MTU: u32 = 1280;

impl Found {
    /// The word of the step for programs.
    pub fn step(&self) -> &'static str {
        match self {
            Self::Folder { kind: FolderKind::Outgoing, .. } => "outgoing",
            Self::Folder { kind: FolderKind::Incoming, .. } => "incoming",
            Self::Folder { kind: FolderKind::State, .. } => "state_folder",
            Self::State { .. } => "state",
            Self::Space { .. } => "space",
            Self::Inodes { .. } => "inodes",
            Self::Disk { .. } | Self::DiskFailed(_) => "disk",
            Self::OpenFiles { .. } => "open_files",
            Self::Watches { .. } => "watches",
            Self::Clock { .. } => "clock",
            Self::Buffers { .. } => "buffers",
            Self::Offload { .. } => "offload",
            Self::Port { .. } => "port",
            Self::Name { .. } | Self::NameUnknown { .. } => "name",
            Self::Route { .. } => "route",
            Self::Answer { .. } => "answer",
            Self::Version { .. } => "version",
            Self::Path { .. } => "path",
            Self::Mtu { .. } => "mtu",
            Self::Inbound { .. } => "inbound",
        }
    }

    /// How the step ended.
    pub fn level(&self) -> Level {
        let warn_if = |bad| if bad { Level::Warn } else { Level::Pass };
        let fail_if = |bad| if bad { Level::Fail } else { Level::Pass };
        match self {
            Self::Folder { usable, .. } => fail_if(matches!(usable, Usable::No(_))),
            Self::State { ledger, set_aside, removing, .. } => {
                warn_if(matches!(ledger, LedgerState::Damaged(_)) || *set_aside + *removing > 0)
            }
            Self::Space { free, needed } => match free {
                free if free < needed => Level::Fail,
                // The next large file will not fit.
                free => warn_if(*free < needed.saturating_add(1 << 30)),
            },
            Self::Inodes { free, .. } if *free == 0 => Level::Fail,
            Self::Inodes { free, .. } => warn_if(*free < MIN_FREE_INODES),
            Self::Disk { write_rate, sync } => {
                warn_if(*write_rate < SLOW_DISK || *sync > SLOW_SYNC)
            }
            Self::DiskFailed(_) | Self::NameUnknown { .. } => Level::Fail,
            Self::OpenFiles { limit } => warn_if(*limit < MIN_OPEN_FILES),
            Self::Watches { folders, max_watches, max_instances } => warn_if(
                folders.saturating_mul(5) > max_watches.saturating_mul(4) || *max_instances == 0,
            ),
            Self::Clock { ahead, synchronised } => warn_if(
                ahead.is_some_and(|ahead| ahead > MAX_AHEAD) || *synchronised == Some(false),
            ),
            Self::Buffers { receive, .. } => warn_if(*receive < MIN_BUFFER),
            Self::Offload { gso, .. } => warn_if(*gso <= 1 && cfg!(target_os = "linux")),
            Self::Port { state, .. } => match state {
                PortState::Free | PortState::Running => Level::Pass,
                PortState::Taken => Level::Warn,
                PortState::Refused(_) => Level::Fail,
            },
            Self::Name { .. } => Level::Pass,
            Self::Route { from, .. } => fail_if(from.is_err()),
            Self::Answer { result, quic, .. } => fail_if(result.is_err() || !quic),
            Self::Version { result, .. } => fail_if(result.is_err()),
            Self::Path { sample, .. } if sample.lost == sample.sent => Level::Fail,
            // One of twenty may be chance.
            Self::Path { sample, .. } => warn_if(sample.lost > 1),
            Self::Mtu { mtu, .. } => warn_if(*mtu < USUAL_MTU),
            // A peer that only listens sends nothing by itself.
            Self::Inbound { .. } => Level::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::PathSample;

    #[test]
    fn levels_follow_the_limits() {
        let space = |free| Found::Space { free, needed: 16 << 20 }.level();
        assert_eq!(space(1), Level::Fail);
        assert_eq!(space(100 << 20), Level::Warn);
        assert_eq!(space(10 << 30), Level::Pass);
        let sync =
            |millis| Found::Disk { write_rate: 1e9, sync: Duration::from_millis(millis) }.level();
        assert_eq!((sync(3), sync(300)), (Level::Pass, Level::Warn));
        let watches =
            |folders| Found::Watches { folders, max_watches: 1000, max_instances: 128 }.level();
        assert_eq!((watches(800), watches(801)), (Level::Pass, Level::Warn));
        let sample = |lost| {
            let rtt = Duration::from_millis(1);
            let sample = PathSample { sent: 20, lost, min_rtt: rtt, median_rtt: rtt };
            Found::Path { to: "192.0.2.1:4000".parse().unwrap(), sample }.level()
        };
        assert_eq!([sample(1), sample(2), sample(20)], [Level::Pass, Level::Warn, Level::Fail]);
        let ahead = |seconds| {
            let ahead = Some(Duration::from_secs(seconds));
            Found::Clock { ahead, synchronised: None }.level()
        };
        assert_eq!((ahead(1), ahead(3600)), (Level::Pass, Level::Warn));
    }
}
