//! Real connections over loopback behind the limit.

use super::controller::{LimitedFactory, PathState};
use super::*;
use crate::config::{Bind, Config, Congestion};
use crate::transport::congestion;
use crate::transport::endpoint::Endpoint;
use crate::transport::runtime::QuicThread;
use bytes::Bytes;
use quinn_proto::congestion::ControllerFactory;

fn endpoint(congestion: Congestion) -> Endpoint {
    let mut config = Config::new(None, 0, "unused");
    config.bind = Some(Bind { addr: [127, 0, 0, 1].into(), port: Some(0) });
    config.congestion = congestion;
    Endpoint::open(&config).unwrap()
}

/// A connection of `left`, which writes to a stream without end, and of `right`, which reads it.
async fn busy_connection(left: &Endpoint, right: &Endpoint) -> [quinn::Connection; 2] {
    let accepted = async { right.quic.accept().await.unwrap().await.unwrap() };
    let dialled =
        async { left.connection_config.connect(&left.quic, right.local).unwrap().await.unwrap() };
    let (dialled, accepted) = tokio::join!(dialled, accepted);
    accepted.set_receive_window(quinn::VarInt::from_u32(16 << 20));
    let (mut send, _answers) = dialled.open_bi().await.unwrap();
    tokio::spawn(async move {
        let piece = Bytes::from(vec![7; 64 << 10]);
        while send.write_chunk(piece.clone()).await.is_ok() {}
    });
    let reader = accepted.clone();
    tokio::spawn(async move {
        let (_answers, mut receive) = reader.accept_bi().await.unwrap();
        while let Ok(Some(_)) = receive.read_chunk(usize::MAX, false).await {}
    });
    [dialled, accepted]
}

/// For how long threads of this process were ready to run and had no processor. Meanwhile nothing
/// is sent, so a test on a busy machine expects less. Zero if the system does not report it.
fn waited() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let waited = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waited.sum())
}

/// Bytes of UDP payload that a connection sends a second, measured for `time`.
async fn rate_of(connection: &quinn::Connection, time: Duration) -> f64 {
    let (begin, before) = (Instant::now(), connection.stats().udp_tx.bytes);
    tokio::time::sleep(time).await;
    (connection.stats().udp_tx.bytes - before) as f64 / begin.elapsed().as_secs_f64()
}

/// Bytes that this machine sends a second without a limit. A higher limit cannot be tested here:
/// Wine, for example, sends only some megabytes a second.
async fn rate_without_limit() -> f64 {
    let (left, right) = (endpoint(Congestion::Bbr), endpoint(Congestion::Bbr));
    let [sender, _receiver] = busy_connection(&left, &right).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    rate_of(&sender, Duration::from_secs(1)).await
}

/// quinn builds no packet that has to wait: the RTT is the path's, and neither the loss timer nor
/// the keep-alive acts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quinn_sends_at_the_limit_without_a_queue() {
    let possible = rate_without_limit().await;
    for congestion in [Congestion::Bbr, Congestion::Cubic] {
        for limit in [20_000, 100_000, 1_000_000, 10_000_000] {
            if limit as f64 > possible / 2.0 {
                eprintln!("limit {limit}: not tested, this machine sends {possible:.0} bytes/s");
                continue;
            }
            let (left, right) = (endpoint(congestion), endpoint(congestion));
            left.limit.set(Some(limit));
            let [sender, _receiver] = busy_connection(&left, &right).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let before = sender.stats();
            let (time, busy) = (Duration::from_secs(2), waited());
            let rate = rate_of(&sender, time).await / limit as f64;
            let busy = waited().saturating_sub(busy).div_duration_f64(time);
            let after = sender.stats();
            let pings = after.frame_tx.ping
                - before.frame_tx.ping
                - (after.path.sent_plpmtud_probes - before.path.sent_plpmtud_probes);
            let lost = after.path.lost_packets - before.path.lost_packets;
            let report = format!(
                "{congestion:?}, limit {limit}: {rate:.3} of it, RTT {:?}, {pings} pings, {lost} lost",
                sender.rtt()
            );
            eprintln!("{report}");
            assert!((0.93 - busy..1.08).contains(&rate), "{report}, busy {busy:.3}");
            // With a packet in a queue it would be the time of a packet, at least.
            let packet = Duration::from_secs_f64(1452.0 / limit as f64);
            if busy < 0.1 {
                assert!(sender.rtt() < Duration::from_millis(8).max(packet / 2), "{report}");
                assert!(pings <= 2 && lost <= 2, "{report}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_can_be_changed_at_any_time() {
    let (left, right) = (endpoint(Congestion::Bbr), endpoint(Congestion::Bbr));
    let [sender, _receiver] = busy_connection(&left, &right).await;
    let possible = rate_of(&sender, Duration::from_secs(1)).await;
    // With jumbo frames a limit of 200 kB/s lets 22 packets leave a second.
    for limit in [1_000_000, 200_000, (possible / 4.0).min(3e6) as u64] {
        left.limit.set(Some(limit));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (time, busy) = (Duration::from_secs(1), waited());
        let rate = rate_of(&sender, time).await / limit as f64;
        let busy = waited().saturating_sub(busy).div_duration_f64(time);
        assert!((0.85 - busy..1.15).contains(&rate), "limit {limit}: {rate:.3}, busy {busy:.3}");
    }
    left.limit.set(None);
    let rate = rate_of(&sender, Duration::from_secs(1)).await;
    assert!(rate > possible / 2.0, "without a limit {rate}, before {possible}");
}

/// Two connections that always have data share the limit about equally, and a third one can begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_share_the_limit() {
    let limit = 100_000;
    let (left, right) = (endpoint(Congestion::Bbr), endpoint(Congestion::Bbr));
    left.limit.set(Some(limit));
    let [first, _right_of_first] = busy_connection(&left, &right).await;
    let [second, _right_of_second] = busy_connection(&left, &right).await;
    let begin = Instant::now();
    let idle = left.connection_config.connect(&left.quic, right.local).unwrap();
    let accepted = async { right.quic.accept().await.unwrap().await.unwrap() };
    let (idle, _accepted) = tokio::join!(idle, accepted);
    let (_idle, handshake) = (idle.unwrap(), begin.elapsed());
    let (time, busy) = (Duration::from_secs(3), waited());
    let (first, second) = tokio::join!(rate_of(&first, time), rate_of(&second, time));
    let busy = waited().saturating_sub(busy).div_duration_f64(time);
    let report =
        format!("{first:.0} and {second:.0} bytes/s, handshake {handshake:?}, busy {busy:.3}");
    eprintln!("{report}");
    assert!((0.93 - busy..1.08).contains(&((first + second) / limit as f64)), "{report}");
    assert!((0.5..2.0).contains(&(first / second)), "{report}");
    assert!(handshake < Duration::from_secs(1), "{report}");
}

/// Acknowledgements count too. The peer needs only a few of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_acknowledges_within_its_limit() {
    let limit = 20_000;
    let (left, right) = (endpoint(Congestion::Bbr), endpoint(Congestion::Bbr));
    right.limit.set(Some(limit));
    let [sender, receiver] = busy_connection(&left, &right).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let time = Duration::from_secs(2);
    let (data, answers) = tokio::join!(rate_of(&sender, time), rate_of(&receiver, time));
    let report = format!("{data:.0} bytes/s of data, {answers:.0} of acknowledgements");
    eprintln!("{report}");
    assert!(answers <= 1.08 * limit as f64, "{report}");
    assert!(data > 2_000_000.0, "{report}");
}

/// No stateless response and no repair packet leaves beyond the limit.
#[tokio::test]
async fn the_socket_refuses_datagrams_beyond_the_debt() {
    let bind = || crate::transport::socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let thread = QuicThread::start().unwrap();
    let (bound, other) = (crate::transport::socket::wrap(bind(), &thread).unwrap(), bind());
    bound.limit.set(Some(100_000));
    let contents = vec![0; 1000];
    let transmit = quinn::udp::Transmit {
        destination: other.local_addr().unwrap(),
        ecn: None,
        contents: &contents,
        segment_size: None,
        src_ip: None,
    };
    let mut poller = bound.socket.clone().create_io_poller();
    std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
    let sent = (0..100).take_while(|_| bound.socket.try_send(&transmit).is_ok()).count();
    assert!((4..=6).contains(&sent), "{sent} datagrams of 10 ms each");
    bound.limit.set(None);
    bound.socket.try_send(&transmit).unwrap();
}

#[test]
fn the_window_is_full_while_the_bucket_is_closed() {
    let limit = RateLimit::default();
    let factory = LimitedFactory::new(congestion::factory(Congestion::Bbr), limit.clone());
    let now = Instant::now();
    let mut controller = Arc::new(factory).build(now, 1200);
    let open = controller.window();
    limit.set(Some(1_000));
    limit.charge(1_000, 1_000, false);
    assert_eq!(controller.window(), open, "the first packet waits at the socket");
    controller.on_sent(now, 1_200, 0);
    assert_eq!(controller.window(), 1, "nothing is in flight, and nothing more may be");
    controller.on_end_acks(now, 4_800, false, None);
    assert_eq!(controller.window(), 4_800);
    controller.on_congestion_event(now, now, false, 1_200);
    assert_eq!(controller.clone_box().window(), 3_600);
    limit.set(None);
    assert!(controller.window() >= open);
    let state = PathState::from_any(controller.clone_box().into_any()).unwrap();
    assert!(congestion::estimate(state.controller).is_some(), "the estimate is within reach");
    assert_eq!(state.answers.count(), 1);
    controller.on_end_acks(now, 2_400, false, None);
    assert_eq!(state.answers.count(), 2, "of the controller, not of its copy");
}
