//! The order of streams by priority on one connection, and of files by their sizes.

use crate::harness::files::{drop_content, drop_in};
use crate::harness::peer::Pair;
use bytes::Bytes;
use rft::config::{Bind, Config};
use rft::internals::crypto::seal::UnsealedHalf;
use rft::internals::transport::endpoint::Endpoint;
use rft::internals::transport::priority::Priority;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Bytes queued at once: less than the window of a stream.
const BULK: usize = 32 << 20;

fn endpoint() -> Endpoint {
    let mut config = Config::new(None, 1, Path::new("unused"));
    config.bind = Some(Bind { addr: LOCALHOST, port: Some(0) });
    Endpoint::open(&config).unwrap()
}

/// Two threads: one reads the bulk data, which may always be there, the other the urgent stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_urgent_stream_overtakes_queued_bulk_data() {
    let (left, right) = (endpoint(), endpoint());
    let to = right.local;
    let accepted = tokio::spawn(async move {
        let connection = right.quic.accept().await.unwrap().await.unwrap();
        connection.set_max_concurrent_bi_streams(8u32.into());
        connection.set_receive_window((4 * BULK as u32).into());
        (connection, right)
    });
    let connection = left.connection_config.connect(&left.quic, to).unwrap().await.unwrap();
    let (accepted, _right) = accepted.await.unwrap();
    connection.set_send_window(2 * BULK as u64);

    let (bulk, _) = connection.open_bi().await.unwrap();
    let (urgent, _) =
        tokio::time::timeout(Duration::from_secs(30), connection.open_bi()).await.unwrap().unwrap();
    let (mut bulk, mut urgent) = (bulk.opened(), urgent.opened());
    bulk.set_priority(Priority::Bulk(0));
    bulk.write(Bytes::from(vec![0; BULK])).await.unwrap();
    // The connection has begun to send the bulk data when the urgent stream opens.
    let (_, mut incoming) = accepted.accept_bi().await.unwrap();
    let mut got = incoming.read_chunk(1, true).await.unwrap().unwrap().bytes.len();
    urgent.set_priority(Priority::Small(1));
    urgent.write(Bytes::from_static(b"now")).await.unwrap();
    urgent.finish().await;

    let arrived = tokio::spawn(async move {
        let (_, mut second) = accepted.accept_bi().await.unwrap();
        second.read_to_end(16).await.unwrap()
    });
    while got < BULK / 2 && !arrived.is_finished() {
        got += incoming.read_chunk(1 << 20, true).await.unwrap().unwrap().bytes.len();
    }
    assert!(arrived.is_finished(), "half of the bulk came first");
    assert_eq!(arrived.await.unwrap(), b"now");
}

/// A file of a megabyte does not wait behind one of a hundred, and both arrive.
#[test]
fn a_smaller_file_overtakes_a_larger_one_in_flight() {
    let pair = Pair::new();
    let (_a, mut b) = pair.connected(&["--limit-rate", "10M"], &[]);
    let disk_image = drop_in(&pair.a, "disk.img", 60_000_000);
    b.waits_for("file_progress", |event| event["path"] == "disk.img");
    drop_content(&pair.a, "photo.jpg", vec![b'x'; 1_000_000]);
    let done = b.waits_for("file_done", |_| true).event;
    assert_eq!(done["path"], "photo.jpg");
    let done = b.waits_for("file_done", |_| true).event;
    assert_eq!(done["blake3"], disk_image.to_string());
}
