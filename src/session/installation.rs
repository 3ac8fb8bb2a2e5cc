//! Conflicts between installations: a third installation with the same password, or one
//! installation in two processes (protocol.md section 3.5). Pure: time is passed in.
//!
//! A session belongs to two installations. While it lives, both refuse all others. Two live
//! processes with the same state folder are recognised when a displaced process returns: after a
//! restart the old process never does.

use crate::crypto::handshake::PeerId;
use crate::proto::message::{InstallationId, Settings};
use crate::transport::close_code::CloseCode;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Maximum number of remembered displaced processes.
const MAX_DISPLACED: usize = 16;
/// Maximum number of warnings within [`TOLD_INTERVAL`].
const MAX_TOLD: usize = 16;
/// A conflict that continues is reported again after this time.
const TOLD_INTERVAL: Duration = Duration::from_secs(3600);

/// A process and its state folder.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Random id of the process.
    pub process: PeerId,
    /// Id of the state folder.
    pub installation: InstallationId,
}

/// The reason why a side refuses a peer that knows the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// It has a session with another installation.
    Occupied,
    /// It has a session with another process of the same installation, and both processes are
    /// alive.
    Copied,
}

impl Clash {
    /// The close code for the refused connection.
    pub fn code(self) -> CloseCode {
        match self {
            Self::Occupied => CloseCode::Occupied,
            Self::Copied => CloseCode::Copied,
        }
    }

    /// Message for the user of the side that refuses `peer`.
    pub fn told_to_holder(self, peer: SocketAddr) -> String {
        match self {
            Self::Occupied => format!(
                "{peer} knows the password, but is another installation (state folder) than the present peer, and is \
                 refused while this session lives; give each pair of hosts a password and a folder (--dir) of its own"
            ),
            Self::Copied => format!(
                "{peer} is refused: it runs with a copy of the present peer's state folder; stop one of the two, or \
                 remove the copied .rft from its --dir"
            ),
        }
    }

    /// Message for the user of the side that `peer` refuses.
    pub fn told_to_refused(self, peer: SocketAddr) -> String {
        match self {
            Self::Occupied => format!(
                "{peer} has a session with another installation (state folder) that knows the same password, and takes \
                 no second one while it lives; give each pair of hosts a password and a folder (--dir) of its own. It \
                 is tried again once a minute"
            ),
            Self::Copied => format!(
                "the state folder is in use by two programs: {peer} has a session with another one that runs with a \
                 copy of it; stop one of the two, or remove the copied .rft from its --dir. It is tried again once a \
                 minute"
            ),
        }
    }
}

/// Message for the user of a side whose peer has the same installation id.
pub fn told_of_own_copy(peer: SocketAddr) -> String {
    format!(
        "{peer} runs with a copy of this side's state folder; stop one side, remove the copied .rft from its --dir, \
         and start it again"
    )
}

/// The reason why `holder` refuses `newcomer`, from both sides' settings on a new connection. Both
/// sides reach the same verdict.
pub fn refusal(holder: &Settings, newcomer: &Settings) -> Option<Clash> {
    if holder.displaced {
        return Some(Clash::Copied);
    }
    let other = holder.partner.is_some_and(|partner| partner != newcomer.installation);
    other.then_some(Clash::Occupied)
}

/// A side's memory of other processes and installations.
#[derive(Debug, Default)]
pub(crate) struct Clashes {
    displaced: VecDeque<PeerId>,
    told: Vec<(Clash, Option<InstallationId>, Instant)>,
}

impl Clashes {
    /// Whether another process of the same installation took this one's place.
    pub(crate) fn is_displaced(&self, process: PeerId) -> bool {
        self.displaced.contains(&process)
    }

    /// `new` has taken the session from `old`, another process of the same installation.
    pub(crate) fn displace(&mut self, old: PeerId, new: PeerId) {
        self.displaced.retain(|process| *process != old && *process != new);
        self.displaced.push_back(old);
        if self.displaced.len() > MAX_DISPLACED {
            self.displaced.pop_front();
        }
    }

    /// Forgets that a peer refused this side: a session was adopted.
    pub(crate) fn accepted(&mut self) {
        self.told.retain(|(_, refused, _)| refused.is_some());
    }

    /// Whether to tell the user that this side refuses the installation `refused`, or that a peer
    /// refuses this side (`None`).
    pub(crate) fn is_news(
        &mut self,
        clash: Clash,
        refused: Option<InstallationId>,
        now: Instant,
    ) -> bool {
        self.told.retain(|(_, _, at)| now.saturating_duration_since(*at) < TOLD_INTERVAL);
        let known = self.told.iter().any(|told| (told.0, told.1) == (clash, refused));
        if known || self.told.len() >= MAX_TOLD {
            return false;
        }
        self.told.push((clash, refused, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InstallationId = InstallationId([1; 16]);
    const TWO: InstallationId = InstallationId([2; 16]);

    fn settings(
        installation: InstallationId,
        partner: Option<InstallationId>,
        displaced: bool,
    ) -> Settings {
        Settings { installation, partner, displaced, streams: 1, ..Settings::default() }
    }

    #[test]
    fn a_session_belongs_to_two_installations() {
        let newcomer = settings(ONE, None, false);
        assert_eq!(refusal(&settings(TWO, None, false), &newcomer), None);
        assert_eq!(
            refusal(&settings(TWO, Some(ONE), false), &newcomer),
            None,
            "roaming or restarted"
        );
        let other = InstallationId([3; 16]);
        assert_eq!(refusal(&settings(TWO, Some(other), false), &newcomer), Some(Clash::Occupied));
        assert_eq!(refusal(&settings(TWO, Some(ONE), true), &newcomer), Some(Clash::Copied));
    }

    #[test]
    fn a_displaced_process_is_known_until_it_has_the_session_again() {
        let process = |n| PeerId([n; 16]);
        let mut clashes = Clashes::default();
        clashes.displace(process(1), process(2));
        assert!(clashes.is_displaced(process(1)) && !clashes.is_displaced(process(2)));
        clashes.displace(process(2), process(1));
        assert!(!clashes.is_displaced(process(1)) && clashes.is_displaced(process(2)));
        for n in 10..100 {
            clashes.displace(process(n), process(n + 1));
        }
        assert_eq!(clashes.displaced.len(), MAX_DISPLACED);
    }

    #[test]
    fn a_clash_is_told_once_an_hour() {
        let (mut clashes, begin) = (Clashes::default(), Instant::now());
        let refused = [Some(ONE), Some(TWO), None];
        for who in refused {
            assert!(clashes.is_news(Clash::Occupied, who, begin));
            assert!(!clashes.is_news(Clash::Occupied, who, begin + TOLD_INTERVAL / 2));
        }
        assert!(clashes.is_news(Clash::Copied, Some(ONE), begin));
        clashes.accepted();
        assert!(!clashes.is_news(Clash::Occupied, Some(ONE), begin));
        assert!(clashes.is_news(Clash::Occupied, None, begin), "after a session");
        assert!(clashes.is_news(Clash::Occupied, Some(ONE), begin + TOLD_INTERVAL));
        let other = |n| Some(InstallationId([n; 16]));
        let mut clashes = Clashes::default();
        let told =
            (0..=u8::MAX).filter(|n| clashes.is_news(Clash::Occupied, other(*n), begin)).count();
        assert_eq!(told, MAX_TOLD);
    }
}
