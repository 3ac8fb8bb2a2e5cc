//! A ClientHello of two packets. One of them is lost or late.

use super::{pair, start};
use crate::harness::connector::settle;
use crate::harness::raw::{client, initial_dcid};
use rft::internals::transport::tls::SERVER_NAME;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// How the relay treats the two Initial packets with a ClientHello in them.
#[derive(Clone, Copy, Debug)]
enum Fate {
    FirstLost,
    SecondLost,
    FirstLate,
    SecondLate,
}

/// Forwards packets between an initiator and a responder. The first two packets for each
/// destination connection ID (chosen by the initiator, or given by a Retry) are treated as `fate`
/// says; all others pass.
async fn pass_on(front: UdpSocket, responder: SocketAddr, fate: Fate) {
    /// Longer than the answer to the other packet takes, so that the late packet finds that a Retry
    /// was sent.
    const LATE: Duration = Duration::from_millis(100);
    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    back.connect(responder).await.unwrap();
    let (mut packet, mut answer, mut initiator) = ([0; 2048], [0; 2048], None);
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    loop {
        tokio::select! {
            Ok((length, from)) = front.recv_from(&mut packet) => {
                initiator = Some(from);
                let packet = packet[..length].to_vec();
                let nth = match initial_dcid(&packet) {
                    Some(id) => {
                        let nth = seen.entry(id.to_vec()).or_default();
                        *nth += 1;
                        *nth
                    }
                    None => 0,
                };
                match (fate, nth) {
                    (Fate::FirstLost, 1) | (Fate::SecondLost, 2) => {}
                    (Fate::FirstLate, 1) | (Fate::SecondLate, 2) => {
                        let back = back.clone();
                        tokio::spawn(async move {
                            tokio::time::sleep(LATE).await;
                            let _ = back.send(&packet).await;
                        });
                    }
                    _ => {
                        let _ = back.send(&packet).await;
                    }
                }
            }
            Ok(length) = back.recv(&mut answer) => {
                let _ = front.send_to(&answer[..length], initiator.unwrap()).await;
            }
        }
    }
}

/// A ClientHello with X25519MLKEM768 needs two packets. If one of them is lost or late, the peers
/// still find each other soon, also when the responder first answers with a Retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_half_of_a_client_hello_may_be_lost_or_late() {
    for retry in [false, true] {
        for fate in [Fate::FirstLost, Fate::SecondLost, Fate::FirstLate, Fate::SecondLate] {
            let (at, bt) = pair();
            let mut responder = start(bt, None, [1; 32]);
            // While two connections are unauthenticated, all new ones get a Retry.
            let (crowd, mut silent) = (client(), Vec::new());
            if retry {
                for _ in 0..2 {
                    silent
                        .push(crowd.connect(responder.local, SERVER_NAME).unwrap().await.unwrap());
                }
            }
            let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let dialled = front.local_addr().unwrap();
            let relay = tokio::spawn(pass_on(front, bt, fate));
            let begun = tokio::time::Instant::now();
            let mut initiator = start(at, Some(dialled), [1; 32]);
            let (there, here) = settle(&mut initiator, &mut responder).await;
            let took = begun.elapsed();
            println!("{fate:?}, Retry {retry}: {took:?}");
            assert!(took < Duration::from_secs(4), "{fate:?}, Retry {retry}: {took:?}");
            for session in [there.0, here.0] {
                assert_eq!(session.key_exchange(), "X25519MLKEM768", "{fate:?}, Retry {retry}");
            }
            relay.abort();
        }
    }
}
