//! The receiver recovers packets that a lossy link drops: real endpoints on loopback with an
//! emulated link between them.

use crate::harness::connector::{self, TIMEOUT, settle};
use crate::harness::peer::free_port;
use crate::harness::relay::Relay;
use rft::config::Congestion;
use rft::internals::crypto::seal::RecordKind;
use rft::internals::session::Session;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes of a record. Four records of a file take four packets.
const RECORD: usize = 1100;
const RECORDS: u8 = 4;

/// Sends one file as small files are sent, with nothing after it. Returns `None` if the session
/// ended meanwhile.
async fn cross(from: &Session, to: &Session) -> Option<()> {
    let (mut writer, _answers) = from.open_file().await.ok()?;
    for n in 0..RECORDS {
        writer.send(RecordKind::Data, |out| out.extend_from_slice(&[n; RECORD])).await.ok()?;
    }
    let (_answer, mut reader) = to.accept_file().await.ok()?;
    for n in 0..RECORDS {
        let (kind, plaintext) = reader.next(RECORD).await.ok()?;
        assert_eq!((kind, &plaintext[..]), (RecordKind::Data, &[n; RECORD][..]));
    }
    Some(())
}

/// Sends files over a link that loses 5 % of the packets, until the receiver has recovered one or
/// `most` files have crossed. Returns the number of recovered packets.
async fn recovered(congestion: Congestion, most: u32) -> u64 {
    let port = free_port();
    let (at, bt) =
        (SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 2], port)));
    let link = Relay::start(1, at, bt);
    link.edit_both(|line| (line.loss, line.delay) = (0.05, Duration::from_millis(20)));
    let mut host = connector::start(connector::config(bt, None), [1; 32]);
    let mut dialling = connector::config(at, Some(link.facing_a()));
    dialling.congestion = congestion;
    let mut initiator = connector::start(dialling, [1; 32]);
    let (mut from, mut to) = settle(&mut initiator, &mut host).await;
    for _ in 0..most {
        if host.fec.recovered_count() > 0 {
            break;
        }
        let crossed =
            tokio::time::timeout(TIMEOUT, cross(&from.0, &to.0)).await.expect("a file in time");
        if crossed.is_none() {
            (from, to) = settle(&mut initiator, &mut host).await;
        }
    }
    host.fec.recovered_count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_packets_are_recovered() {
    assert!(recovered(Congestion::Bbr, 1000).await > 0);
}

/// quinn's CUBIC controller does not estimate the path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cubic_recovers_nothing() {
    assert_eq!(recovered(Congestion::Cubic, 60).await, 0);
}
