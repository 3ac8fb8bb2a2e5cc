//! What limits the speed, in words.

use super::text::{self, percent};
use rft::event::Direction;
use rft::status::{Bottleneck, SessionStatus};

/// `limited by the path (about 12.3 MB/s, 0.5 % lost)`, or why nothing crosses.
pub(crate) fn sentence(
    limit: Bottleneck,
    direction: Direction,
    session: Option<&SessionStatus>,
) -> String {
    let by = |what: &str| format!("limited by {what}");
    match (limit, session) {
        (Bottleneck::NothingToSend, _) => match direction {
            Direction::Send => "nothing to send".into(),
            Direction::Receive => "nothing to receive".into(),
        },
        (Bottleneck::Waiting, None) => "waiting for the peer".into(),
        (Bottleneck::Waiting, Some(_)) => "waiting".into(),
        (Bottleneck::Starting, _) => "starting".into(),
        // This side's estimate and loss are about its own direction.
        (Bottleneck::Path, Some(session)) if direction == Direction::Send => {
            let path = &session.path;
            let rate = match path.rate {
                0 => String::new(),
                rate => format!("about {}, ", text::rate(rate as f64)),
            };
            by(&format!("the path ({rate}{} lost)", percent(path.loss)))
        }
        (Bottleneck::Path, _) => by("the path"),
        (Bottleneck::Disk, _) => by("this disk"),
        (Bottleneck::PeerDisk, _) => by("the peer's disk"),
        (Bottleneck::Processor, _) => by("this processor"),
        (Bottleneck::PeerProcessor, _) => by("the peer's processor"),
        (Bottleneck::RateLimit, _) => by("--limit-rate"),
        (Bottleneck::PeerRateLimit, _) => by("the peer's --limit-rate"),
        (Bottleneck::Check, _) => "waits for the check here (--quarantine)".into(),
        (Bottleneck::PeerCheck, _) => "waits for the receiver's check (--quarantine)".into(),
        // A newer library's cause.
        (_, _) => "limited by something else".into(),
    }
}
