use pakery_cpace::{CpaceInitiator, CpaceMode, CpaceResponder};
use pakery_crypto::CpaceRistretto255;
use rand::{Rng, RngExt};

use super::*;
use crate::crypto::vectors::{Script, Vectors, seeded};

/// A generator for the draft's scalars. They are below the order, so with 32 zero bytes appended
/// the wide reduction does not change them.
fn scalar_rng(scalar: Vec<u8>) -> Script {
    Script::new([scalar, vec![0; 32]].concat())
}

#[test]
fn draft_run() {
    let v = Vectors::cpace("run");
    let [prs, ci, sid, ad_a, ad_b] = ["PRS", "CI", "sid", "ADa", "ADb"].map(|name| v.bytes(name));
    let inputs = Inputs { prs: &prs, ci: &ci, sid: &sid };
    assert_eq!(calculate_generator(&inputs).compress().as_bytes()[..], v.bytes("g"));

    let initiator = PakeInitiator::start(&inputs, &mut scalar_rng(v.bytes("ya"))).unwrap();
    let ya = initiator.share();
    assert_eq!(ya[..], v.bytes("Ya"));
    let k = scalar_mult_vfy(&initiator.scalar, &v.array("Yb")).unwrap();
    assert_eq!(k[..], v.bytes("K"));

    let (yb, isk_b) = respond(&inputs, &ya, &ad_a, &ad_b, &mut scalar_rng(v.bytes("yb"))).unwrap();
    assert_eq!(yb[..], v.bytes("Yb"));
    assert_eq!(isk_b[..], v.bytes("ISK_IR"));
    let isk_a = initiator.finish(&sid, &ad_a, &yb, &ad_b).unwrap();
    assert_eq!(isk_a[..], v.bytes("ISK_IR"));
}

#[test]
fn draft_points() {
    let v = Vectors::cpace("points");
    let scalar = Scalar::from_canonical_bytes(v.array("s")).unwrap();
    assert_eq!(scalar_mult_vfy(&scalar, &v.array("X")).unwrap()[..], v.bytes("scalar_mult_vfy"));
    for invalid in ["invalid_Y1", "invalid_Y2"] {
        assert_eq!(scalar_mult_vfy(&scalar, &v.array(invalid)).err(), Some(PakeError::BadShare));
    }
    let inputs = Inputs { prs: b"p", ci: b"c", sid: b"s" };
    for invalid in ["invalid_Y1", "invalid_Y2"] {
        let refused = respond(&inputs, &v.array(invalid), b"", b"", &mut seeded(1));
        assert_eq!(refused.err(), Some(PakeError::BadShare));
        let initiator = PakeInitiator::start(&inputs, &mut seeded(1)).unwrap();
        assert_eq!(
            initiator.finish(b"s", b"", &v.array(invalid), b"").err(),
            Some(PakeError::BadShare)
        );
    }
}

#[test]
fn lengths_are_leb128() {
    assert_eq!(lv_cat(&[b"1234", b"5", b"", b"678"])[..], *b"\x041234\x015\x00\x03678");
    for (len, prefix) in
        [(127, &[0x7f][..]), (128, &[0x80, 0x01]), (300, &[0xac, 0x02]), (16384, &[0x80, 0x80, 1])]
    {
        let part = vec![7; len];
        let out = lv_cat(&[&part]);
        assert_eq!(out[..prefix.len()], *prefix);
        assert_eq!(out.len(), prefix.len() + len);
        assert_eq!(out.capacity(), out.len(), "the buffer was reserved exactly");
    }
}

#[test]
fn a_failing_generator_stops_the_run() {
    let inputs = Inputs { prs: b"p", ci: b"c", sid: b"s" };
    assert_eq!(
        PakeInitiator::start(&inputs, &mut Script::new(vec![1; 63])).err(),
        Some(PakeError::Rng)
    );
}

/// pakery-cpace is another author's implementation of the same draft.
#[test]
fn agrees_with_pakery() {
    let mut rng = seeded(2);
    for round in 0..50 {
        let (mut prs, mut ci, mut sid) =
            (vec![0; rng.random_range(0..200)], vec![0; 40], vec![0; 32]);
        let (mut ad_a, mut ad_b) = (vec![0; rng.random_range(0..150)], vec![0; 40]);
        for part in [&mut prs, &mut ci, &mut sid, &mut ad_a, &mut ad_b] {
            rng.fill_bytes(part);
        }
        let inputs = Inputs { prs: &prs, ci: &ci, sid: &sid };
        let mode = CpaceMode::InitiatorResponder;

        let ours = PakeInitiator::start(&inputs, &mut rng).unwrap();
        let (yb, theirs) = CpaceResponder::<CpaceRistretto255>::respond(
            &ours.share(),
            &prs,
            &ci,
            &sid,
            &ad_a,
            &ad_b,
            mode,
            &mut rng,
        )
        .unwrap();
        let isk = ours.finish(&sid, &ad_a, &yb.try_into().unwrap(), &ad_b).unwrap();
        assert_eq!(isk[..], *theirs.isk.as_bytes(), "initiator, round {round}");

        let (ya, theirs) =
            CpaceInitiator::<CpaceRistretto255>::start(&prs, &ci, &sid, &ad_a, &mut rng).unwrap();
        let (yb, isk) = respond(&inputs, &ya.try_into().unwrap(), &ad_a, &ad_b, &mut rng).unwrap();
        let theirs = theirs.finish(&yb, &ad_b, mode).unwrap();
        assert_eq!(isk[..], *theirs.isk.as_bytes(), "responder, round {round}");
    }
}
