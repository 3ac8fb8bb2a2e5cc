//! Tests the key exchange group against another library's X25519, wrong key shares and failing
//! generators, and in handshakes with other groups and with tampering.
use super::hybrid::{CLIENT_SHARE_LEN, SECRET_LEN, SERVER_SHARE_LEN};
use crate::crypto::kem;
use crate::crypto::kem::{CIPHERTEXT_LEN, ENCAPSULATION_KEY_LEN, KemKey};
use crate::transport::tls::*;
use curve25519_dalek::MontgomeryPoint;
use quinn::Endpoint;
use rand::rngs::StdRng;
use rand::{SeedableRng, TryCryptoRng, TryRng};
use rustls::quic::{ClientConnection, KeyChange, ServerConnection, Version};
use rustls::{HandshakeKind, PeerMisbehaved};
use std::net::Ipv4Addr;

/// The private key of an honest side, whose X25519 is another library's.
const SCALAR: [u8; 32] = [0x42; 32];

fn public() -> [u8; 32] {
    MontgomeryPoint::mul_base_clamped(SCALAR).to_bytes()
}

fn agreed(other: &[u8]) -> [u8; 32] {
    MontgomeryPoint(other.try_into().unwrap()).mul_clamped(SCALAR).to_bytes()
}

fn error_of<T>(result: Result<T, Error>) -> Error {
    result.err().expect("an error")
}

const INVALID: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

/// The peer at the other end is made here of its two parts, in the draft's order.
#[test]
fn the_client_agrees_with_a_server_made_of_the_parts() {
    let client = X25519MLKEM768.start().unwrap();
    assert_eq!(client.group(), NamedGroup::X25519MLKEM768);
    let share = client.pub_key().to_vec();
    assert_eq!(share.len(), CLIENT_SHARE_LEN);
    assert_eq!(share.len(), 1216);
    let (key, x25519) = share.split_at(ENCAPSULATION_KEY_LEN);
    assert_eq!(client.hybrid_component(), Some((NamedGroup::X25519, x25519)));
    let (ciphertext, shared) = kem::encapsulate(key, &mut StdRng::seed_from_u64(1)).unwrap();
    let secret = client.complete(&[&ciphertext[..], &public()].concat()).unwrap();
    assert_eq!(secret.secret_bytes(), [*shared, agreed(x25519)].concat());
    assert_eq!(secret.secret_bytes().len(), SECRET_LEN);
    assert_eq!(SECRET_LEN, 64);
}

#[test]
fn the_server_agrees_with_a_client_made_of_the_parts() {
    let key = KemKey::generate(&mut StdRng::seed_from_u64(1)).unwrap();
    let share = [&key.encapsulation_key()[..], &public()].concat();
    let server = X25519MLKEM768.start_and_complete(&share).unwrap();
    assert_eq!(server.group, NamedGroup::X25519MLKEM768);
    assert_eq!(server.pub_key.len(), SERVER_SHARE_LEN);
    assert_eq!(server.pub_key.len(), 1120);
    let (ciphertext, x25519) = server.pub_key.split_at(CIPHERTEXT_LEN);
    let shared = key.decapsulate(ciphertext.try_into().unwrap());
    assert_eq!(server.secret.secret_bytes(), [*shared, agreed(x25519)].concat());
}

#[test]
fn the_x25519_part_completes_by_itself() {
    let client = X25519MLKEM768.start().unwrap();
    let x25519 = client.hybrid_component().unwrap().1.to_vec();
    let secret = client.complete_hybrid_component(&public()).unwrap();
    assert_eq!(secret.secret_bytes(), agreed(&x25519));
}

#[test]
fn a_share_of_another_length_is_refused() {
    let honest = X25519MLKEM768.start().unwrap().pub_key().to_vec();
    let server = X25519MLKEM768.start_and_complete(&honest).unwrap().pub_key;
    let of_length = |share: &[u8], length: usize| {
        share.iter().copied().cycle().take(length).collect::<Vec<_>>()
    };
    for length in (0..=1300).chain([4096, 65_535]) {
        if length != CLIENT_SHARE_LEN {
            let refused = X25519MLKEM768.start_and_complete(&of_length(&honest, length));
            assert_eq!(error_of(refused), INVALID, "a client's share of {length}");
        }
    }
    // A key pair for each of these: fewer lengths.
    for length in [0, 1, 31, 32, 33, 1087, 1088, 1119, 1121, 1152, 1216, 65_535] {
        let client = X25519MLKEM768.start().unwrap();
        assert_eq!(error_of(client.complete(&of_length(&server, length))), INVALID, "{length}");
    }
    for length in [0, 31, 33, 1120] {
        let client = X25519MLKEM768.start().unwrap();
        let refused = client.complete_hybrid_component(&of_length(&server, length));
        assert_eq!(error_of(refused), INVALID, "{length} for X25519");
    }
}

#[test]
fn an_ml_kem_key_with_a_coefficient_beyond_the_modulus_is_refused() {
    let mut share = X25519MLKEM768.start().unwrap().pub_key().to_vec();
    assert!(X25519MLKEM768.start_and_complete(&share).is_ok());
    // The first coefficient is 3329, the modulus.
    share[0] = 0x01;
    share[1] = share[1] & 0xf0 | 0x0d;
    assert_eq!(error_of(X25519MLKEM768.start_and_complete(&share)), INVALID);
}

/// With a point of small order X25519's secret is zero for every scalar: that half adds nothing.
#[test]
fn x25519_points_of_small_order_are_refused() {
    let zero = [0; 32];
    let one = std::array::from_fn(|at| u8::from(at == 0));
    let mut order_8 = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    let honest = X25519MLKEM768.start().unwrap().pub_key().to_vec();
    for flip in [0, 0x80] {
        order_8[31] ^= flip;
        for point in [zero, one, order_8] {
            let share = [&honest[..ENCAPSULATION_KEY_LEN], &point].concat();
            assert_eq!(error_of(X25519MLKEM768.start_and_complete(&share)), INVALID, "{point:x?}");
            let client = X25519MLKEM768.start().unwrap();
            let key = &client.pub_key()[..ENCAPSULATION_KEY_LEN];
            let (ciphertext, _) = kem::encapsulate(key, &mut SysRng).unwrap();
            let refused = client.complete(&[&ciphertext[..], &point].concat());
            assert_eq!(error_of(refused), INVALID, "{point:x?}");
        }
    }
}

/// A generator that never has anything.
#[derive(Debug, Clone, Copy)]
struct Dry;

impl TryRng for Dry {
    type Error = std::fmt::Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Err(std::fmt::Error)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Err(std::fmt::Error)
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
        Err(std::fmt::Error)
    }
}

impl TryCryptoRng for Dry {}

static DRY: Hybrid<Dry> = Hybrid { rng: Dry };

#[test]
fn a_failing_generator_is_an_error_of_the_group() {
    assert_eq!(error_of(DRY.start()), Error::FailedToGetRandomBytes);
    let share = X25519MLKEM768.start().unwrap().pub_key().to_vec();
    assert_eq!(error_of(DRY.start_and_complete(&share)), Error::FailedToGetRandomBytes);
}

/// One endpoint of loopback that listens and dials with these groups.
fn endpoint(groups: &[&'static dyn SupportedKxGroup]) -> Endpoint {
    let tls = configure_with(groups).unwrap();
    let server = quinn::ServerConfig::with_crypto(tls.server);
    let mut endpoint = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(tls.client));
    endpoint
}

/// What both sides say of the group, when one dials the other.
async fn dial(
    from: &Endpoint,
    to: &Endpoint,
) -> Result<[Option<&'static str>; 2], quinn::ConnectionError> {
    let dialled = async {
        let connecting = from.connect(to.local_addr().unwrap(), SERVER_NAME).unwrap();
        connecting.await
    };
    let accepted = async { to.accept().await.unwrap().await };
    let (dialled, accepted) = tokio::join!(dialled, accepted);
    Ok([key_exchange(&dialled?), key_exchange(&accepted?)])
}

static ONLY_X25519: [&dyn SupportedKxGroup; 1] = [&X25519];
static ONLY_HYBRID: [&dyn SupportedKxGroup; 1] = [&HYBRID];
static X25519_FIRST: [&dyn SupportedKxGroup; 2] = [&X25519, &HYBRID];

#[tokio::test]
async fn peers_agree_on_a_group_and_both_report_it() {
    let ours = endpoint(&GROUPS);
    for (groups, expected) in [
        (&GROUPS[..], "X25519MLKEM768"),
        (&ONLY_HYBRID, "X25519MLKEM768"),
        (&ONLY_X25519, "X25519"),
    ] {
        let theirs = endpoint(groups);
        assert_eq!(dial(&ours, &theirs).await.unwrap(), [Some(expected); 2], "we dial {expected}");
        assert_eq!(dial(&theirs, &ours).await.unwrap(), [Some(expected); 2], "{expected} dials us");
    }
    let nothing_in_common = dial(&endpoint(&ONLY_HYBRID), &endpoint(&ONLY_X25519)).await;
    assert!(nothing_in_common.is_err());
}

/// Many connections at once, of both groups, on the same threads: each knows its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_connections_reports_its_own_group() {
    let responder = endpoint(&GROUPS);
    let addr = responder.local_addr().unwrap();
    let serve = tokio::spawn({
        let responder = responder.clone();
        async move {
            let mut seen = Vec::new();
            while seen.len() < 40 {
                let connection = responder.accept().await.unwrap().await.unwrap();
                seen.push((
                    connection.remote_address(),
                    key_exchange(&connection).unwrap(),
                    connection,
                ));
            }
            seen
        }
    });
    let (old, new) = (endpoint(&ONLY_X25519), endpoint(&GROUPS));
    let mut dials = tokio::task::JoinSet::new();
    for n in 0..40 {
        let (from, expected) =
            if n % 2 == 0 { (old.clone(), "X25519") } else { (new.clone(), "X25519MLKEM768") };
        dials.spawn(async move {
            let connection = from.connect(addr, SERVER_NAME).unwrap().await.unwrap();
            assert_eq!(key_exchange(&connection), Some(expected));
            connection
        });
    }
    let _open = dials.join_all().await;
    let old = old.local_addr().unwrap();
    for (remote, group, _connection) in serve.await.unwrap() {
        assert_eq!(group, if remote == old { "X25519" } else { "X25519MLKEM768" });
    }
}

/// quinn would panic with its lock held, and so make every later dial panic.
#[tokio::test]
async fn a_dial_without_random_numbers_is_an_error_and_others_go_on() {
    static DRY_FIRST: [&dyn SupportedKxGroup; 2] = [&DRY, &X25519];
    let (dialler, responder) = (endpoint(&DRY_FIRST), endpoint(&GROUPS));
    let addr = responder.local_addr().unwrap();
    for _ in 0..2 {
        assert!(dialler.connect(addr, SERVER_NAME).is_err());
    }
    // A responder without random numbers refuses, but serves peers with the other group.
    let dry = endpoint(&DRY_FIRST);
    assert!(dial(&responder, &dry).await.is_err());
    assert_eq!(dial(&endpoint(&ONLY_X25519), &dry).await.unwrap(), [Some("X25519"); 2]);
}

/// A client and a server of rustls that hand each other their handshake bytes, without QUIC around
/// them.
struct Pair {
    client: ClientConnection,
    server: ServerConnection,
}

impl Pair {
    fn new(
        of_client: &[&'static dyn SupportedKxGroup],
        of_server: &[&'static dyn SupportedKxGroup],
    ) -> Self {
        let (_, client) = rustls_configs(of_client).unwrap();
        let (server, _) = rustls_configs(of_server).unwrap();
        let name = SERVER_NAME.try_into().unwrap();
        Self {
            client: ClientConnection::new(Arc::new(client), Version::V1, name, Vec::new()).unwrap(),
            server: ServerConnection::new(Arc::new(server), Version::V1, Vec::new()).unwrap(),
        }
    }

    /// Runs the handshake; `tamper` sees the first ClientHello on its way.
    fn shake_hands(&mut self, tamper: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Result<(), Error> {
        let hello = tamper(flight(|out| self.client.write_hs(out)).concat());
        self.server.read_hs(&hello)?;
        while self.client.is_handshaking() || self.server.is_handshaking() {
            for part in flight(|out| self.server.write_hs(out)) {
                self.client.read_hs(&part)?;
            }
            for part in flight(|out| self.client.write_hs(out)) {
                self.server.read_hs(&part)?;
            }
        }
        Ok(())
    }
}

/// All that one side has to say until it must hear the other, cut where the keys change.
fn flight(mut write: impl FnMut(&mut Vec<u8>) -> Option<KeyChange>) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    loop {
        let mut part = Vec::new();
        let keys = write(&mut part);
        if part.is_empty() && keys.is_none() {
            return parts;
        }
        parts.push(part);
    }
}

#[test]
fn no_peer_costs_a_hello_retry_request() {
    for (of_client, of_server) in [
        (&GROUPS[..], &GROUPS[..]),
        (&GROUPS, &ONLY_X25519),
        (&GROUPS, &ONLY_HYBRID),
        (&ONLY_X25519, &GROUPS),
    ] {
        let mut pair = Pair::new(of_client, of_server);
        pair.shake_hands(|hello| hello).unwrap();
        assert_eq!(
            pair.client.handshake_kind(),
            Some(HandshakeKind::Full),
            "{of_client:?} {of_server:?}"
        );
    }
    // The control: a client that has 0x11ec, but sends another share first.
    let mut pair = Pair::new(&X25519_FIRST, &ONLY_HYBRID);
    pair.shake_hands(|hello| hello).unwrap();
    assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));
}

/// The ClientHello without this group: out of supported_groups (10) and key_share (51).
fn without_group(hello: &[u8], group: u16) -> Vec<u8> {
    let number = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let prefixed = |body: &[u8]| [&u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat();
    // Message header 4, version 2, random 32, session id, cipher suites, compression methods.
    let mut at = 38;
    at += 1 + usize::from(hello[at]);
    at += 2 + number(&hello[at..]);
    at += 1 + usize::from(hello[at]);
    let (head, mut rest) = (&hello[4..at], &hello[at + 2..]);
    let mut extensions = Vec::new();
    while !rest.is_empty() {
        let (kind, length) = (&rest[..2], number(&rest[2..]));
        let body = &rest[4..4 + length];
        rest = &rest[4 + length..];
        let kept: Vec<u8> = match number(kind) {
            10 => body[2..]
                .chunks(2)
                .filter(|one| number(one) != usize::from(group))
                .flatten()
                .copied()
                .collect(),
            51 => {
                let (mut shares, mut kept) = (&body[2..], Vec::new());
                while !shares.is_empty() {
                    let (one, others) = shares.split_at(4 + number(&shares[2..]));
                    if number(one) != usize::from(group) {
                        kept.extend_from_slice(one);
                    }
                    shares = others;
                }
                kept
            }
            _ => {
                extensions.extend_from_slice(&[kind, &prefixed(body)].concat());
                continue;
            }
        };
        extensions.extend_from_slice(&[kind, &prefixed(&prefixed(&kept))].concat());
    }
    let body = [head, &prefixed(&extensions)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&hello[..1], &length[1..], &body].concat()
}

#[test]
fn a_group_that_is_stripped_on_the_way_fails_the_handshake() {
    const HYBRID_GROUP: u16 = 0x11ec;
    // The control: written anew without a group that is not in it, the hello is the same.
    let mut pair = Pair::new(&GROUPS, &GROUPS);
    pair.shake_hands(|hello| {
        assert_eq!(without_group(&hello, 0x0018), hello);
        hello
    })
    .unwrap();
    let mut pair = Pair::new(&GROUPS, &GROUPS);
    let stripped = pair.shake_hands(|hello| {
        let stripped = without_group(&hello, HYBRID_GROUP);
        // A share with its header, and a name.
        assert_eq!(stripped.len(), hello.len() - (4 + CLIENT_SHARE_LEN) - 2);
        stripped
    });
    // The server took X25519 for the best in common; the client's transcript has the group in it.
    let taken = pair.server.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(taken, NamedGroup::X25519);
    assert!(
        matches!(stripped, Err(Error::DecryptError | Error::InvalidCertificate(_))),
        "{stripped:?}"
    );
    assert!(pair.client.is_handshaking());
}
