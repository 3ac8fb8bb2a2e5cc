use super::*;
use crate::crypto::message_lengths::PREFIX_LEN;
use crate::crypto::seal::{Numbered, RecordKind, Sealer};
use crate::crypto::vectors::{Script, Vectors, seeded};

const INITIATOR_ID: PeerId = PeerId([0xaa; 16]);
const RESPONDER_ID: PeerId = PeerId([0xbb; 16]);

fn key(byte: u8) -> PasswordKey {
    PasswordKey::from_bytes([byte; 32])
}

fn binding(byte: u8) -> ChannelBinding {
    ChannelBinding::from_exporter(&[byte; 96])
}

/// One handshake, with a hook that can change every message. Returns the results of the responder
/// and the initiator.
struct Run {
    initiator_key: PasswordKey,
    responder_key: PasswordKey,
    initiator_binding: ChannelBinding,
    responder_binding: ChannelBinding,
}

type Ends = (Result<Established, HandshakeError>, Result<Established, HandshakeError>);

impl Run {
    fn honest() -> Self {
        Self {
            initiator_key: key(1),
            responder_key: key(1),
            initiator_binding: binding(9),
            responder_binding: binding(9),
        }
    }

    /// `tamper` gets the number of the message (1 to 4) and its bytes. If one side fails, the side
    /// that waits for its message gets the same error.
    fn play(&self, mut tamper: impl FnMut(u8, &mut [u8])) -> Ends {
        let mut rng = seeded(7);
        let (initiator, mut m1) =
            Initiator::start(&self.initiator_key, &self.initiator_binding, INITIATOR_ID, &mut rng)
                .unwrap();
        tamper(1, &mut m1);
        let (responder, mut m2) = match Responder::on_m1(
            &self.responder_key,
            &self.responder_binding,
            RESPONDER_ID,
            &m1,
            &mut rng,
        ) {
            Ok(next) => next,
            Err(error) => return (Err(error), Err(error)),
        };
        tamper(2, &mut m2);
        let (initiator, mut m3) = match initiator.on_m2(&m2) {
            Ok(next) => next,
            Err(error) => return (Err(error), Err(error)),
        };
        tamper(3, &mut m3);
        let (established, mut m4) = match responder.on_m3(&m3, &mut rng) {
            Ok(next) => next,
            Err(error) => return (Err(error), Err(error)),
        };
        tamper(4, &mut m4);
        (Ok(established), initiator.on_m4(&m4))
    }
}

fn error(end: &Result<Established, HandshakeError>) -> Option<HandshakeError> {
    end.as_ref().err().copied()
}

#[test]
fn both_ends_agree() {
    let (responder, initiator) = Run::honest().play(|_, _| ());
    let (responder, initiator) = (responder.unwrap(), initiator.unwrap());
    assert_eq!((responder.role, initiator.role), (Role::Responder, Role::Initiator));
    assert_eq!((responder.peer, initiator.peer), (INITIATOR_ID, RESPONDER_ID));
    assert_eq!((responder.session_id, responder.sas), (initiator.session_id, initiator.sas));

    for (sender, from, to) in
        [(Role::Initiator, &initiator, &responder), (Role::Responder, &responder, &initiator)]
    {
        let mut buffer = Sealer::buffer(5);
        buffer.extend_from_slice(b"hello");
        let mut record = from
            .keys
            .sealer(sender, Numbered((), 0))
            .1
            .seal(RecordKind::Settings, buffer)
            .unwrap()
            .to_vec();
        let (kind, plaintext) = to.keys.opener(sender, 0).open(0, &mut record).unwrap();
        assert_eq!((kind, &*plaintext), (RecordKind::Settings, &b"hello"[..]));
    }
}

/// All four messages, byte for byte, from known random bytes.
#[test]
fn known_answers() {
    let v = Vectors::rft1();
    let key = PasswordKey::from_bytes(v.array("prs"));
    let binding = ChannelBinding::from_exporter(&v.array("exporter"));
    let (initiator_id, responder_id) =
        (PeerId(v.array("initiator_id")), PeerId(v.array("responder_id")));
    let mut initiator_rng = Script::new(v.bytes("initiator_rng"));
    let mut responder_rng = Script::new(v.bytes("responder_rng"));

    let (initiator, m1) =
        Initiator::start(&key, &binding, initiator_id, &mut initiator_rng).unwrap();
    assert_eq!(m1[..], v.bytes("m1"));
    let (responder, m2) =
        Responder::on_m1(&key, &binding, responder_id, &m1, &mut responder_rng).unwrap();
    assert_eq!(m2[..], v.bytes("m2"));
    let (initiator, m3) = initiator.on_m2(&m2).unwrap();
    assert_eq!(m3[..], v.bytes("m3"));
    let (responder, m4) = responder.on_m3(&m3, &mut responder_rng).unwrap();
    assert_eq!(m4[..], v.bytes("m4"));
    let initiator = initiator.on_m4(&m4).unwrap();
    assert!(initiator_rng.is_used_up() && responder_rng.is_used_up());
    for end in [initiator, responder] {
        assert_eq!(end.session_id[..], v.bytes("session_id"));
        assert_eq!(end.sas[..], v.bytes("sas"));
    }
}

#[test]
fn another_password_is_refused_by_the_responder_first() {
    let run = Run { initiator_key: key(2), ..Run::honest() };
    let (responder, _) = run.play(|_, _| ());
    assert_eq!(error(&responder), Some(HandshakeError::WrongPassword));
}

/// A responder that does not know the password cannot make a valid M4.
#[test]
fn another_password_is_refused_by_the_initiator_too() {
    let mut rng = seeded(3);
    let (initiator, m1) = Initiator::start(&key(1), &binding(9), INITIATOR_ID, &mut rng).unwrap();
    let (_, m2) = Responder::on_m1(&key(2), &binding(9), RESPONDER_ID, &m1, &mut rng).unwrap();
    let (initiator, _) = initiator.on_m2(&m2).unwrap();
    assert_eq!(error(&initiator.on_m4(&[0; M4_LEN])), Some(HandshakeError::WrongPassword));
}

/// A man in the middle of TLS has two different exporters. A difference in each third is detected.
#[test]
fn another_channel_is_refused() {
    for third in 0..3 {
        let mut exported = [9; 96];
        exported[32 * third] ^= 1;
        let run =
            Run { initiator_binding: ChannelBinding::from_exporter(&exported), ..Run::honest() };
        let (responder, _) = run.play(|_, _| ());
        assert_eq!(error(&responder), Some(HandshakeError::WrongPassword), "third {third}");
    }
}

#[test]
fn a_connection_to_itself_is_detected() {
    let mut rng = seeded(4);
    let (_, m1) = Initiator::start(&key(1), &binding(9), INITIATOR_ID, &mut rng).unwrap();
    assert_eq!(Responder::peek_m1(&m1, INITIATOR_ID), Err(HandshakeError::SelfConnection));
    assert_eq!(Responder::peek_m1(&m1, RESPONDER_ID), Ok(()));
    let refused = Responder::on_m1(&key(1), &binding(9), INITIATOR_ID, &m1, &mut rng);
    assert_eq!(refused.err(), Some(HandshakeError::SelfConnection));

    // The same for an initiator that has dialled its own listener.
    let (initiator, m1) = Initiator::start(&key(1), &binding(9), INITIATOR_ID, &mut rng).unwrap();
    let (_, mut m2) = Responder::on_m1(&key(1), &binding(9), RESPONDER_ID, &m1, &mut rng).unwrap();
    m2[8..24].copy_from_slice(&INITIATOR_ID.0);
    assert_eq!(initiator.on_m2(&m2).err(), Some(HandshakeError::SelfConnection));
}

#[test]
fn a_reflected_m1_is_refused() {
    let start = || Initiator::start(&key(1), &binding(9), INITIATOR_ID, &mut seeded(5)).unwrap();
    let (initiator, m1) = start();
    assert_eq!(initiator.on_m2(&m1).err(), Some(HandshakeError::WrongRole));

    let (initiator, mut m2) = start();
    m2[4] = b'R';
    assert_eq!(initiator.on_m2(&m2).err(), Some(HandshakeError::SelfConnection));

    // With another peer id, the share still shows the reflection.
    let (initiator, mut m2) = start();
    m2[4] = b'R';
    m2[8..24].copy_from_slice(&RESPONDER_ID.0);
    assert_eq!(initiator.on_m2(&m2).err(), Some(HandshakeError::BadShare));
}

#[test]
fn a_reflected_proof_is_refused() {
    let mut rng = seeded(6);
    let (initiator, m1) = Initiator::start(&key(1), &binding(9), INITIATOR_ID, &mut rng).unwrap();
    let (_, m2) = Responder::on_m1(&key(1), &binding(9), RESPONDER_ID, &m1, &mut rng).unwrap();
    let (initiator, m3) = initiator.on_m2(&m2).unwrap();
    let mut m4 = [0; M4_LEN];
    m4[..M3_LEN].copy_from_slice(&m3);
    assert_eq!(error(&initiator.on_m4(&m4)), Some(HandshakeError::WrongPassword));
}

#[test]
fn every_single_bit_counts() {
    let run = Run::honest();
    let mut refused = 0;
    for (message, len) in [(1, M1_LEN), (2, M2_LEN), (3, M3_LEN), (4, M4_LEN)] {
        for bit in 0..8 * len {
            let (responder, initiator) = run.play(|number, bytes| {
                if number == message {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            });
            assert!(initiator.is_err(), "bit {bit} of M{message} passed the initiator");
            // The responder sends M4 last, so it cannot notice a change of M4.
            assert_eq!(responder.is_err(), message != 4, "bit {bit} of M{message}");
            refused += 1;
        }
    }
    assert_eq!(refused, 2304);
}

#[test]
fn each_invalid_hello_has_its_own_error() {
    let (_, good) = Initiator::start(&key(1), &binding(9), INITIATOR_ID, &mut seeded(8)).unwrap();
    let cases = [
        (0, b'X', HandshakeError::NotRft),
        (3, b'2', HandshakeError::NotRft),
        (4, b'R', HandshakeError::WrongRole),
        (5, 0x02, HandshakeError::UnsupportedVersion),
        (6, 0x01, HandshakeError::UnsupportedVersion),
        (7, 0x01, HandshakeError::UnsupportedVersion),
    ];
    for (at, byte, expected) in cases {
        let mut m1 = good;
        m1[at] = byte;
        assert_eq!(Responder::peek_m1(&m1, RESPONDER_ID), Err(expected), "byte {at}");
    }
    let mut m1 = good;
    m1[PREFIX_LEN..].fill(0xff);
    assert_eq!(
        Responder::peek_m1(&m1, RESPONDER_ID),
        Ok(()),
        "the share costs group operations: on_m1 checks it"
    );
    let refused = Responder::on_m1(&key(1), &binding(9), RESPONDER_ID, &m1, &mut seeded(8));
    assert_eq!(refused.err(), Some(HandshakeError::BadShare));
}

/// The proof is verified before the wrapped keys are decrypted, so only a responder that knows the
/// password can cause the second error.
#[test]
fn a_bad_wrap_under_a_good_proof_is_an_unwrap_error() {
    let mut rng = seeded(9);
    let (initiator, m1) = Initiator::start(&key(1), &binding(9), INITIATOR_ID, &mut rng).unwrap();
    let (responder, m2) =
        Responder::on_m1(&key(1), &binding(9), RESPONDER_ID, &m1, &mut rng).unwrap();
    let (initiator, m3) = initiator.on_m2(&m2).unwrap();
    let wrap = [0; WRAP_LEN];
    let mut m4 = [0; M4_LEN];
    m4[..PROOF_LEN].copy_from_slice(
        &responder.confirmation.responder_proof(&m3, &wrap).finalize().into_bytes(),
    );
    assert_eq!(error(&initiator.on_m4(&m4)), Some(HandshakeError::UnwrapFailed));
}

#[test]
fn a_failing_generator_stops_each_step() {
    let enough = |bytes| Script::new(vec![7; bytes]);
    for bytes in [0, 15, 16, 79] {
        let refused = Initiator::start(&key(1), &binding(9), INITIATOR_ID, &mut enough(bytes));
        assert_eq!(refused.err(), Some(HandshakeError::Rng));
    }
    let (initiator, m1) =
        Initiator::start(&key(1), &binding(9), INITIATOR_ID, &mut seeded(10)).unwrap();
    let mut rng = enough(80);
    let (responder, m2) =
        Responder::on_m1(&key(1), &binding(9), RESPONDER_ID, &m1, &mut rng).unwrap();
    let (_, m3) = initiator.on_m2(&m2).unwrap();
    assert_eq!(responder.on_m3(&m3, &mut rng).err(), Some(HandshakeError::Rng));
    assert_eq!(PeerId::random(&mut rng), Err(HandshakeError::Rng));
}

#[test]
fn a_session_does_not_repeat() {
    let mut rng = seeded(11);
    let mut session = || {
        let (initiator, m1) =
            Initiator::start(&key(1), &binding(9), INITIATOR_ID, &mut rng).unwrap();
        let (responder, m2) =
            Responder::on_m1(&key(1), &binding(9), RESPONDER_ID, &m1, &mut rng).unwrap();
        let (_, m3) = initiator.on_m2(&m2).unwrap();
        responder.on_m3(&m3, &mut rng).unwrap().0.session_id
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
