use crate::config::PeerName;
use crate::hindrance::{Finding, Hindrance};
use crate::proto::message::{InstallationId, TransferId};
use crate::proto::name::Name;
use crate::status::HookStatus;
use crate::status::{
    Backlog, Bottleneck, Direction, FileInFlight, NoSession, PastSession, PathStatus, PeerStatus,
    SessionEnd, SessionRole, SessionStatus, Setback, SetbackKind, Status, WaitKind, WaitReason,
    Waiting,
};
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

/// A snapshot with a value in every field.
fn full() -> Status {
    let mut peer = PeerStatus::new(PeerName::new("bob"));
    let name = Name::parse(b"caf\xe9").unwrap();
    let mut path = PathStatus::default();
    (path.rtt, path.loss) = (Duration::from_millis(41), 0.005);
    peer.session = Some(SessionStatus {
        address: ([192, 0, 2, 7], 4000).into(),
        role: SessionRole::Initiator,
        id: "5e55".into(),
        kx: "X25519MLKEM768".into(),
        installation: InstallationId([7; 16]),
        version: "1.2".into(),
        host: "bob".into(),
        receives: true,
        since: UNIX_EPOCH + Duration::from_millis(1_500),
        age: Duration::from_secs(3),
        silent_for: Some(Duration::from_secs(4)),
        path,
    });
    let reason = SessionEnd::Lost("reset".into());
    peer.last_end = Some(PastSession { ago: Duration::from_millis(500), reason });
    let small = Hindrance::PathTooSmall { mtu: Some(1000) };
    let finding = Finding { hindrance: small, address: ([192, 0, 2, 7], 4000).into() };
    peer.no_session = Some(NoSession::new(Duration::from_millis(1500), Some(finding)));
    peer.send.backlog = Some(Backlog { files: 2, bytes: 3 });
    (peer.send.limit, peer.send.time_left) = (Bottleneck::PeerDisk, Some(Duration::from_secs(9)));
    peer.send.last = Some(UNIX_EPOCH + Duration::from_secs(9));
    peer.in_flight = vec![FileInFlight {
        direction: Direction::Receive,
        path: name.clone(),
        transfer: TransferId([1; 16]),
        bytes: 1,
        size: 2,
        age: Duration::from_secs(1),
        rate: 5,
    }];
    let mut waiting = Waiting::new(name, WaitReason::Backoff(Duration::from_millis(4200)));
    waiting.setback = Some(Setback::new(SetbackKind::PeerFull, "full".into()));
    let open = Waiting::new(Name::parse(b"a/b").unwrap(), WaitReason::Open);
    peer.waiting = vec![waiting, Waiting { program: Some("vi".into()), ..open }];
    Status {
        time: UNIX_EPOCH,
        version: "1".into(),
        uptime: Duration::from_secs(60),
        local: ([0, 0, 0, 0], 4000).into(),
        limit_rate: Some(5),
        limit_until: Some(UNIX_EPOCH + Duration::from_millis(2500)),
        limit_schedule: Some("08:00-18:00 5, off".into()),
        hooks: Some(HookStatus::new(true, 1, 2, false)),
        peers: vec![peer],
    }
}

#[test]
fn a_snapshot_survives_its_json() {
    let status = full();
    let text = serde_json::to_string(&status).unwrap();
    let read: Status = serde_json::from_str(&text).unwrap();
    assert_eq!(format!("{read:?}"), format!("{status:?}"));
}

/// `docs/control.md` names these fields.
#[test]
fn the_json_has_the_documented_form() {
    let value: Value = serde_json::to_value(full()).unwrap();
    assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
    let hooks = &value["hooks"];
    assert_eq!((&hooks["quarantine"], &hooks["helper_ended"]), (&true.into(), &false.into()));
    assert_eq!((&hooks["running"], &hooks["waiting"]), (&1.into(), &2.into()));
    let peer = &value["peers"][0];
    assert_eq!(peer["session"]["path"]["rtt_seconds"], 0.041);
    assert_eq!(peer["session"]["installation"], "07".repeat(16));
    assert_eq!(peer["session"]["since"], "1970-01-01T00:00:01.500Z");
    let end = json!({"ago_seconds": 0.5, "reason": "lost", "detail": "reset"});
    assert_eq!(peer["last_end"], end);
    let apart = json!({"seconds": 1.5, "cause": "path_too_small", "mtu": 1000,
        "address": "192.0.2.7:4000"});
    assert_eq!(peer["no_session"], apart);
    let known: NoSession = serde_json::from_value(json!({"seconds": 2.0})).unwrap();
    assert_eq!(known, NoSession::new(Duration::from_secs(2), None));
    for hindrance in [Hindrance::PortClosed, Hindrance::NameUnknown, Hindrance::Occupied] {
        assert_eq!(serde_json::to_value(hindrance).unwrap()["cause"], hindrance.word());
    }
    assert_eq!(
        (&peer["send"]["limit"], &peer["send"]["seconds_left"]),
        (&"peer_disk".into(), &9.0.into())
    );
    assert_eq!(
        (&peer["receive"]["backlog"], &peer["receive"]["last"]),
        (&Value::Null, &Value::Null)
    );
    let waiting = json!([
        {"path": "caf\u{fffd}", "path_bytes": "Y2Fm6Q==", "reason": "backoff", "seconds": 4.2,
            "setback": "peer_full", "setback_text": "full"},
        {"path": "a/b", "reason": "open", "program": "vi"},
    ]);
    assert_eq!(peer["waiting"], waiting);
    assert_eq!(peer["in_flight"][0]["path_bytes"], "Y2Fm6Q==");
}

/// A reply that another program wrote.
#[test]
fn values_that_no_snapshot_has_are_refused() {
    for (field, value) in [
        ("/time", json!("yesterday")),
        ("/uptime_seconds", json!(-1.0)),
        ("/peers/0/session/installation", json!("07")),
        ("/peers/0/in_flight/0/path_bytes", json!("!")),
        ("/peers/0/waiting/1/path", json!("../up")),
        ("/peers/0/send/limit", json!("gravity")),
    ] {
        let mut status = serde_json::to_value(full()).unwrap();
        *status.pointer_mut(field).unwrap() = value;
        assert!(serde_json::from_value::<Status>(status).is_err(), "{field}");
    }
}

#[test]
fn words_of_metrics_are_those_of_the_json() {
    for kind in WaitKind::ALL {
        assert_eq!(json!(kind), json!(kind.as_str()));
    }
    let time = Duration::from_secs(1);
    for reason in [
        WaitReason::Settling(time),
        WaitReason::Folder,
        WaitReason::Ready,
        WaitReason::InFlight,
        WaitReason::CleaningUp,
        WaitReason::Open,
        WaitReason::DeliveredOpen,
        WaitReason::Lingering(time),
        WaitReason::Unfinished,
        WaitReason::LeftAlone,
        WaitReason::Backoff(time),
        WaitReason::Occupied(time),
        WaitReason::Unreadable(time),
        WaitReason::Refused,
    ] {
        assert_eq!(json!(reason)["reason"], json!(reason.kind()));
    }
    for limit in Bottleneck::ALL {
        assert_eq!(json!(limit), json!(limit.as_str()));
    }
}
