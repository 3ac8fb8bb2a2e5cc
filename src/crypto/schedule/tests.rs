use hkdf::Hkdf;

use super::*;
use crate::crypto::vectors::Vectors;

#[test]
fn labels_are_distinct_and_hold_no_zero() {
    let all = [
        EXPORTER_LABEL,
        label::ARGON2_SALT,
        label::CHANNEL,
        label::TRANSCRIPT,
        label::CONFIRM_INITIATOR,
        label::CONFIRM_RESPONDER,
        label::WRAP_KEY,
        label::WRAP_AAD,
        label::SESSION_SALT,
        label::SAS,
        label::SESSION_ID,
        label::STREAM,
        label::CHUNK_AES,
        label::CHUNK_MAC,
        label::REPAIR,
        label::RECORD,
    ];
    for (i, one) in all.iter().enumerate() {
        assert!(!one.contains(&0));
        assert!(all[i + 1..].iter().all(|other| one != other), "{one:?} twice");
    }
}

/// The `hkdf` crate gives the same bytes.
#[test]
fn extract_and_expand_are_hkdf() {
    let (salt, ikm, context) = ([3; 32], [5; 96], [7; 9]);
    let ours = Prk::extract(&salt, &[&ikm[..40], &ikm[40..]])
        .expand(label::STREAM, &[&context[..1], &context[1..]]);
    let mut theirs = [0; 32];
    let info = [label::STREAM, &[0], &context].concat();
    Hkdf::<Sha256>::new(Some(&salt), &ikm).expand(&info, &mut theirs).unwrap();
    assert_eq!(*ours, theirs);
}

/// Every derivation of the handshake against the second implementation.
#[test]
fn known_answers() {
    let v = Vectors::rft1();
    let binding = ChannelBinding::from_exporter(&v.array("exporter"));
    assert_eq!(channel_identifier(&binding)[..], v.bytes("ci"));

    let isk = Zeroizing::new(v.array("isk"));
    let confirmation = Confirmation::derive(&isk, &binding, &v.array("m1"), &v.array("m2"));
    assert_eq!(confirmation.th[..], v.bytes("th"));
    let th = v.array::<32>("th");
    let prk = Prk::new(&v.array("prk"));
    assert_eq!(confirmation.prk.expand(b"x", &[]), prk.expand(b"x", &[]));
    assert_eq!(prk.expand(label::CONFIRM_INITIATOR, &[])[..], v.bytes("kcg"));
    assert_eq!(prk.expand(label::CONFIRM_RESPONDER, &[])[..], v.bytes("kch"));
    assert_eq!(confirmation.wrap_key()[..], v.bytes("kw"));

    let (ta, m4) = (v.array::<32>("m3"), v.array::<M4_LEN>("m4"));
    assert_eq!(secret(confirmation.initiator_proof())[..], ta);
    assert_eq!(secret(confirmation.responder_proof(&ta, &m4[32..]))[..], m4[..32]);
    assert_eq!(confirmation.wrap_aad(&ta), [b"rft/1 wrap", &th[..], &ta].concat());
    assert_eq!(
        prk.expand(label::SESSION_SALT, &[&Sha256::digest(m4)])[..],
        v.bytes("session_salt")
    );

    let session_key = v.bytes("responder_rng")[80..].try_into().unwrap();
    let session = confirmation.session(&m4, &session_key);
    assert_eq!(session.0.expand(b"x", &[]), Prk::new(&v.array("s")).expand(b"x", &[]));
    assert_eq!(session.sas()[..], v.bytes("sas"));
    assert_eq!(session.session_id()[..], v.bytes("session_id"));
}

#[test]
fn known_answers_of_the_streams() {
    let v = Vectors::rft1();
    let session = SessionSecret(Prk::new(&v.array("s")));
    for record in v.list("records") {
        let sender = if record.text("role") == "R" { Role::Responder } else { Role::Initiator };
        let stream = session.stream(sender, record.number("stream"));
        assert_eq!(stream.0.expand(b"x", &[]), Prk::new(&record.array("sx")).expand(b"x", &[]));
        let epoch = record.number("index") >> 18;
        assert_eq!(stream.chunk_aes(epoch)[..], record.bytes("kaes"));
        assert_eq!(stream.chunk_mac(epoch)[..], record.bytes("kmac"));
    }
}

#[test]
fn repair_keys_are_the_known_ones() {
    let vectors = Vectors::rft1();
    let session = SessionSecret::from_bytes(&vectors.array("s"));
    let repairs = vectors.list("repairs");
    for repair in &repairs {
        let role = if repair.text("role") == "I" { Role::Initiator } else { Role::Responder };
        assert_eq!(session.repair(role)[..], repair.bytes("key"));
    }
    assert_eq!(repairs.len(), 2);
}
