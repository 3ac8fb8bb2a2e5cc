use super::hello::PREFIX_LEN;
use super::*;
use crate::crypto::seal::{Numbered, RecordKind, Sealer};
use crate::crypto::vectors::{Script, Vectors, seeded};

const GUEST_ID: PeerId = PeerId([0xaa; 16]);
const HOST_ID: PeerId = PeerId([0xbb; 16]);

fn key(byte: u8) -> PasswordKey {
    PasswordKey::from_bytes([byte; 32])
}

fn binding(byte: u8) -> ChannelBinding {
    ChannelBinding::from_exporter(&[byte; 96])
}

/// One run, with a hook for every message on its way. Gives what the host and the guest end with.
struct Run {
    guest_key: PasswordKey,
    host_key: PasswordKey,
    guest_binding: ChannelBinding,
    host_binding: ChannelBinding,
}

type Ends = (Result<Established, HandshakeError>, Result<Established, HandshakeError>);

impl Run {
    fn honest() -> Self {
        Self { guest_key: key(1), host_key: key(1), guest_binding: binding(9), host_binding: binding(9) }
    }

    /// `tamper` gets the number of the message (1 to 4) and its bytes. An end that never heard from the other has
    /// the other's error.
    fn play(&self, mut tamper: impl FnMut(u8, &mut [u8])) -> Ends {
        let mut rng = seeded(7);
        let (guest, mut m1) = Guest::start(&self.guest_key, &self.guest_binding, GUEST_ID, &mut rng).unwrap();
        tamper(1, &mut m1);
        let (host, mut m2) = match Host::on_m1(&self.host_key, &self.host_binding, HOST_ID, &m1, &mut rng) {
            Ok(next) => next,
            Err(error) => return (Err(error), Err(error)),
        };
        tamper(2, &mut m2);
        let (guest, mut m3) = match guest.on_m2(&m2) {
            Ok(next) => next,
            Err(error) => return (Err(error), Err(error)),
        };
        tamper(3, &mut m3);
        let (established, mut m4) = match host.on_m3(&m3, &mut rng) {
            Ok(next) => next,
            Err(error) => return (Err(error), Err(error)),
        };
        tamper(4, &mut m4);
        (Ok(established), guest.on_m4(&m4))
    }
}

fn error(end: &Result<Established, HandshakeError>) -> Option<HandshakeError> {
    end.as_ref().err().copied()
}

#[test]
fn both_ends_agree() {
    let (host, guest) = Run::honest().play(|_, _| ());
    let (host, guest) = (host.unwrap(), guest.unwrap());
    assert_eq!((host.role, guest.role), (Role::Host, Role::Guest));
    assert_eq!((host.peer, guest.peer), (GUEST_ID, HOST_ID));
    assert_eq!((host.session_id, host.sas), (guest.session_id, guest.sas));

    for (sender, from, to) in [(Role::Guest, &guest, &host), (Role::Host, &host, &guest)] {
        let mut buffer = Sealer::buffer(5);
        buffer.extend_from_slice(b"hello");
        let mut record =
            from.keys.sealer(sender, Numbered((), 0)).1.seal(RecordKind::Settings, buffer).unwrap().to_vec();
        let (kind, plaintext) = to.keys.opener(sender, 0).open(0, &mut record).unwrap();
        assert_eq!((kind, &*plaintext), (RecordKind::Settings, &b"hello"[..]));
    }
}

/// All four messages, byte for byte, from the bytes that the generators give.
#[test]
fn known_answers() {
    let v = Vectors::rft1();
    let key = PasswordKey::from_bytes(v.array("prs"));
    let binding = ChannelBinding::from_exporter(&v.array("exporter"));
    let (guest_id, host_id) = (PeerId(v.array("guest_id")), PeerId(v.array("host_id")));
    let mut guest_rng = Script::new(v.bytes("guest_rng"));
    let mut host_rng = Script::new(v.bytes("host_rng"));

    let (guest, m1) = Guest::start(&key, &binding, guest_id, &mut guest_rng).unwrap();
    assert_eq!(m1[..], v.bytes("m1"));
    let (host, m2) = Host::on_m1(&key, &binding, host_id, &m1, &mut host_rng).unwrap();
    assert_eq!(m2[..], v.bytes("m2"));
    let (guest, m3) = guest.on_m2(&m2).unwrap();
    assert_eq!(m3[..], v.bytes("m3"));
    let (host, m4) = host.on_m3(&m3, &mut host_rng).unwrap();
    assert_eq!(m4[..], v.bytes("m4"));
    let guest = guest.on_m4(&m4).unwrap();
    assert!(guest_rng.is_used_up() && host_rng.is_used_up());
    for end in [guest, host] {
        assert_eq!(end.session_id[..], v.bytes("session_id"));
        assert_eq!(end.sas[..], v.bytes("sas"));
    }
}

#[test]
fn another_password_is_refused_by_the_host_first() {
    let run = Run { guest_key: key(2), ..Run::honest() };
    let (host, _) = run.play(|_, _| ());
    assert_eq!(error(&host), Some(HandshakeError::WrongPassword));
}

/// A host that does not know the password cannot finish, whatever it sends as M4.
#[test]
fn another_password_is_refused_by_the_guest_too() {
    let mut rng = seeded(3);
    let (guest, m1) = Guest::start(&key(1), &binding(9), GUEST_ID, &mut rng).unwrap();
    let (_, m2) = Host::on_m1(&key(2), &binding(9), HOST_ID, &m1, &mut rng).unwrap();
    let (guest, _) = guest.on_m2(&m2).unwrap();
    assert_eq!(error(&guest.on_m4(&[0; M4_LEN])), Some(HandshakeError::WrongPassword));
}

/// A man in the middle of TLS has two exporters. Each third of the exporter counts on its own.
#[test]
fn another_channel_is_refused() {
    for third in 0..3 {
        let mut exported = [9; 96];
        exported[32 * third] ^= 1;
        let run = Run { guest_binding: ChannelBinding::from_exporter(&exported), ..Run::honest() };
        let (host, _) = run.play(|_, _| ());
        assert_eq!(error(&host), Some(HandshakeError::WrongPassword), "third {third}");
    }
}

#[test]
fn the_own_packets_are_known() {
    let mut rng = seeded(4);
    let (_, m1) = Guest::start(&key(1), &binding(9), GUEST_ID, &mut rng).unwrap();
    assert_eq!(Host::peek_m1(&m1, GUEST_ID), Err(HandshakeError::SelfConnection));
    assert_eq!(Host::peek_m1(&m1, HOST_ID), Ok(()));
    let refused = Host::on_m1(&key(1), &binding(9), GUEST_ID, &m1, &mut rng);
    assert_eq!(refused.err(), Some(HandshakeError::SelfConnection));

    // The same for a guest whose dial ends in its own listener.
    let (guest, m1) = Guest::start(&key(1), &binding(9), GUEST_ID, &mut rng).unwrap();
    let (_, mut m2) = Host::on_m1(&key(1), &binding(9), HOST_ID, &m1, &mut rng).unwrap();
    m2[8..24].copy_from_slice(&GUEST_ID.0);
    assert_eq!(guest.on_m2(&m2).err(), Some(HandshakeError::SelfConnection));
}

#[test]
fn a_reflected_m1_is_refused() {
    let start = || Guest::start(&key(1), &binding(9), GUEST_ID, &mut seeded(5)).unwrap();
    let (guest, m1) = start();
    assert_eq!(guest.on_m2(&m1).err(), Some(HandshakeError::WrongRole));

    let (guest, mut m2) = start();
    m2[4] = b'H';
    assert_eq!(guest.on_m2(&m2).err(), Some(HandshakeError::SelfConnection));

    // Even under another identity, the share gives it away.
    let (guest, mut m2) = start();
    m2[4] = b'H';
    m2[8..24].copy_from_slice(&HOST_ID.0);
    assert_eq!(guest.on_m2(&m2).err(), Some(HandshakeError::BadShare));
}

#[test]
fn a_reflected_proof_is_refused() {
    let mut rng = seeded(6);
    let (guest, m1) = Guest::start(&key(1), &binding(9), GUEST_ID, &mut rng).unwrap();
    let (_, m2) = Host::on_m1(&key(1), &binding(9), HOST_ID, &m1, &mut rng).unwrap();
    let (guest, m3) = guest.on_m2(&m2).unwrap();
    let mut m4 = [0; M4_LEN];
    m4[..M3_LEN].copy_from_slice(&m3);
    assert_eq!(error(&guest.on_m4(&m4)), Some(HandshakeError::WrongPassword));
}

#[test]
fn every_single_bit_counts() {
    let run = Run::honest();
    let mut refused = 0;
    for (message, len) in [(1, M1_LEN), (2, M2_LEN), (3, M3_LEN), (4, M4_LEN)] {
        for bit in 0..8 * len {
            let (host, guest) = run.play(|number, bytes| {
                if number == message {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            });
            assert!(guest.is_err(), "bit {bit} of M{message} passed the guest");
            // What happens to M4 the host cannot see; everything else it refuses.
            assert_eq!(host.is_err(), message != 4, "bit {bit} of M{message}");
            refused += 1;
        }
    }
    assert_eq!(refused, 2304);
}

#[test]
fn what_is_wrong_with_a_hello_is_told_locally() {
    let (_, good) = Guest::start(&key(1), &binding(9), GUEST_ID, &mut seeded(8)).unwrap();
    let cases = [
        (0, b'X', HandshakeError::NotRft),
        (3, b'2', HandshakeError::NotRft),
        (4, b'H', HandshakeError::WrongRole),
        (5, 0x02, HandshakeError::UnsupportedVersion),
        (6, 0x01, HandshakeError::UnsupportedVersion),
        (7, 0x01, HandshakeError::UnsupportedVersion),
    ];
    for (at, byte, expected) in cases {
        let mut m1 = good;
        m1[at] = byte;
        assert_eq!(Host::peek_m1(&m1, HOST_ID), Err(expected), "byte {at}");
    }
    let mut m1 = good;
    m1[PREFIX_LEN..].fill(0xff);
    assert_eq!(Host::peek_m1(&m1, HOST_ID), Ok(()), "the share costs group operations: on_m1 checks it");
    let refused = Host::on_m1(&key(1), &binding(9), HOST_ID, &m1, &mut seeded(8));
    assert_eq!(refused.err(), Some(HandshakeError::BadShare));
}

/// The proof over the wrap is checked before the wrap is opened: only who knows Kch can reach the second error.
#[test]
fn a_bad_wrap_under_a_good_proof_is_an_unwrap_error() {
    let mut rng = seeded(9);
    let (guest, m1) = Guest::start(&key(1), &binding(9), GUEST_ID, &mut rng).unwrap();
    let (host, m2) = Host::on_m1(&key(1), &binding(9), HOST_ID, &m1, &mut rng).unwrap();
    let (guest, m3) = guest.on_m2(&m2).unwrap();
    let wrap = [0; WRAP_LEN];
    let mut m4 = [0; M4_LEN];
    m4[..PROOF_LEN].copy_from_slice(&host.confirmation.host_proof(&m3, &wrap).finalize().into_bytes());
    assert_eq!(error(&guest.on_m4(&m4)), Some(HandshakeError::UnwrapFailed));
}

#[test]
fn a_failing_generator_stops_each_step() {
    let enough = |bytes| Script::new(vec![7; bytes]);
    for bytes in [0, 15, 16, 79] {
        let refused = Guest::start(&key(1), &binding(9), GUEST_ID, &mut enough(bytes));
        assert_eq!(refused.err(), Some(HandshakeError::Rng));
    }
    let (guest, m1) = Guest::start(&key(1), &binding(9), GUEST_ID, &mut seeded(10)).unwrap();
    let mut rng = enough(80);
    let (host, m2) = Host::on_m1(&key(1), &binding(9), HOST_ID, &m1, &mut rng).unwrap();
    let (_, m3) = guest.on_m2(&m2).unwrap();
    assert_eq!(host.on_m3(&m3, &mut rng).err(), Some(HandshakeError::Rng));
    assert_eq!(PeerId::random(&mut rng), Err(HandshakeError::Rng));
}

#[test]
fn a_session_does_not_repeat() {
    let mut rng = seeded(11);
    let mut session = || {
        let (guest, m1) = Guest::start(&key(1), &binding(9), GUEST_ID, &mut rng).unwrap();
        let (host, m2) = Host::on_m1(&key(1), &binding(9), HOST_ID, &m1, &mut rng).unwrap();
        let (_, m3) = guest.on_m2(&m2).unwrap();
        host.on_m3(&m3, &mut rng).unwrap().0.session_id
    };
    assert_ne!(session(), session());
}

#[test]
fn a_peer_id_shows_as_hex() {
    let id = PeerId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 254, 255]);
    assert_eq!(id.to_string(), "000102030405060708090a0b0c0dfeff");
    assert!(PeerId([1; 16]) > PeerId([0; 16]));
    assert_ne!(PeerId::random(&mut seeded(12)), PeerId::random(&mut seeded(13)));
}
