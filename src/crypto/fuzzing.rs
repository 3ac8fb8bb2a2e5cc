//! Bodies of the fuzz targets of the seal and the handshake.

use super::handshake::{
    ChannelBinding, Established, HandshakeError, Initiator, M1_LEN, M2_LEN, M3_LEN, M4_LEN, PeerId,
    Responder, Role,
};
use super::schedule::SessionSecret;
use super::seal::{
    HEADER_LEN, Header, Numbered, OpenError, RecordKind, SealError, SessionKeys, TRAILER_LEN,
};
use super::{PasswordKey, Sealer};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// The keys of an imaginary session.
pub fn keys() -> SessionKeys {
    SessionKeys::new(SessionSecret::from_bytes(&[7; 32]))
}

/// Choices from the fuzzer's bytes; zeros when they are used up.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn below(&mut self, n: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % n.max(1)
    }
}

const KINDS: [RecordKind; 7] = [
    RecordKind::Offer,
    RecordKind::Data,
    RecordKind::Answer,
    RecordKind::Receipt,
    RecordKind::Settings,
    RecordKind::Control,
    RecordKind::Final,
];

/// Opens the records of one stream in any order, some of them changed, cut, moved or repeated. Each
/// unchanged record opens once, at its own index, and no other bytes open.
///
/// # Panics
/// If that does not hold.
pub fn records(data: &[u8]) {
    header(data);
    let mut choices = Choices(data.iter());
    let keys = keys();
    let mut sealer = keys.sealer(Role::Initiator, Numbered((), 4)).1;
    let (mut sealed, mut ended) = (Vec::new(), false);
    for _ in 0..1 + choices.below(12) {
        let kind = KINDS[choices.below(KINDS.len())];
        let plaintext = vec![choices.byte(); choices.below(100)];
        let mut buffer = Sealer::buffer(plaintext.len());
        buffer.extend_from_slice(&plaintext);
        match sealer.seal(kind, buffer) {
            Ok(record) => sealed.push((kind, plaintext, record.to_vec())),
            Err(error) => assert!(ended && error == SealError::Ended),
        }
        ended |= kind == RecordKind::Final;
    }
    let mut opener = keys.opener(Role::Initiator, 4);
    let mut opened = vec![false; sealed.len()];
    while choices.0.len() > 0 {
        let (which, place) = (choices.below(sealed.len()), choices.below(sealed.len() + 1));
        let (kind, plaintext, record) = &sealed[which];
        let place = if choices.byte() < 192 { which } else { place };
        let mut copy = record.clone();
        match choices.byte() % 8 {
            0 => copy[choices.below(record.len())] ^= 1 << (choices.byte() % 8),
            1 => copy.truncate(choices.below(record.len())),
            2 => copy.push(choices.byte()),
            _ => {}
        }
        let before = copy.clone();
        let honest = copy == *record && place == which && !opened[which];
        match opener.open(place as u64, &mut copy) {
            Ok((got, text)) => {
                assert!(honest, "record {which} opened at {place}");
                assert_eq!((got, &*text), (*kind, &plaintext[..]));
                opened[which] = true;
            }
            Err(error) => {
                assert!(!honest, "record {which}: {error}");
                assert!(is_as_it_was_or_wiped(&copy, &before), "a refused record reveals nothing");
            }
        }
        let contiguous = opened.iter().take_while(|opened| **opened).count();
        assert_eq!(opener.contiguous(), contiguous as u64);
        assert_eq!(opener.is_complete(), ended && contiguous == sealed.len());
    }
}

/// Whether a refused record is unchanged, or has zeros in place of its ciphertext.
pub(super) fn is_as_it_was_or_wiped(after: &[u8], before: &[u8]) -> bool {
    let ciphertext = HEADER_LEN..before.len().saturating_sub(TRAILER_LEN).max(HEADER_LEN);
    let mut wiped = before.to_vec();
    wiped.get_mut(ciphertext).unwrap_or_default().fill(0);
    after == before || after == wiped
}

fn header(data: &[u8]) {
    let Some(bytes) = data.first_chunk::<HEADER_LEN>() else { return };
    match Header::parse(bytes, 1 << 20) {
        Ok(header) => {
            let mut back = [0; HEADER_LEN];
            back[0] = header.kind.to_wire();
            back[4..8].copy_from_slice(&header.len.to_be_bytes());
            back[8..].copy_from_slice(&header.index.to_be_bytes());
            assert_eq!(back, *bytes);
            assert!(header.len <= 1 << 20);
        }
        Err(error) => assert!(matches!(error, OpenError::BadHeader | OpenError::TooLong)),
    }
}

type Ends = (Result<Established, HandshakeError>, Result<Established, HandshakeError>);

/// A handshake in which an attacker on the path changes or replaces messages. If none was changed,
/// both ends agree; otherwise the receiver of a changed message refuses it.
///
/// # Panics
/// If that does not hold.
pub fn handshake(data: &[u8]) {
    let mut choices = Choices(data.iter());
    let (mut changed, mut first) = (false, true);
    let (responder, initiator) = play(|message| {
        let how = choices.byte();
        let before = message.to_vec();
        match how % 4 {
            // The attacker's message.
            1 if first => message.iter_mut().for_each(|byte| *byte = choices.byte()),
            // The attacker's bytes from some position on.
            2 => {
                let at = choices.below(message.len());
                message[at..].iter_mut().for_each(|byte| *byte = choices.byte());
            }
            3 => message[choices.below(before.len())] ^= 1 << (choices.byte() % 8),
            _ => {}
        }
        first = false;
        changed |= message != before;
    });
    if changed {
        assert!(initiator.is_err(), "the initiator accepted a changed message");
        // Only M4 was changed, which the responder cannot notice.
        if let Ok(responder) = responder {
            assert_eq!(responder.peer, INITIATOR_ID);
        }
    } else {
        let (responder, initiator) = (responder.unwrap(), initiator.unwrap());
        assert_eq!((responder.session_id, responder.sas), (initiator.session_id, initiator.sas));
        assert_eq!((responder.peer, initiator.peer), (INITIATOR_ID, RESPONDER_ID));
    }
}

const INITIATOR_ID: PeerId = PeerId([0xaa; 16]);
const RESPONDER_ID: PeerId = PeerId([0xbb; 16]);

/// One handshake. If one side fails, the side that waits for its message gets the same error.
fn play(mut tamper: impl FnMut(&mut [u8])) -> Ends {
    let mut rng = StdRng::seed_from_u64(7);
    let (key, binding) =
        (PasswordKey::from_bytes([1; 32]), ChannelBinding::from_exporter(&[9; 96]));
    let (initiator, mut m1): (_, [u8; M1_LEN]) =
        Initiator::start(&key, &binding, INITIATOR_ID, &mut rng).unwrap();
    tamper(&mut m1);
    let peeked = Responder::peek_m1(&m1, RESPONDER_ID);
    let (responder, mut m2): (_, [u8; M2_LEN]) =
        match Responder::on_m1(&key, &binding, RESPONDER_ID, &m1, &mut rng) {
            Ok(next) => next,
            Err(error) => {
                assert!(peeked.is_ok() || peeked == Err(error));
                return (Err(error), Err(error));
            }
        };
    assert_eq!(peeked, Ok(()));
    tamper(&mut m2);
    let (initiator, mut m3): (_, [u8; M3_LEN]) = match initiator.on_m2(&m2) {
        Ok(next) => next,
        Err(error) => return (Err(error), Err(error)),
    };
    tamper(&mut m3);
    let (established, mut m4): (_, [u8; M4_LEN]) = match responder.on_m3(&m3, &mut rng) {
        Ok(next) => next,
        Err(error) => return (Err(error), Err(error)),
    };
    tamper(&mut m4);
    (Ok(established), initiator.on_m4(&m4))
}
