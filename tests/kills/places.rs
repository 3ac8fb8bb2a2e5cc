//! Every place of the life cycle at which a test kills the program, in the order of the data flow.

/// The side that only listens, so that its role is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Listens {
    Nobody,
    Dier,
    Other,
}

/// One run: a peer that sends and receives is killed by each of these rules in turn, and restarted
/// after each.
pub struct Plan {
    /// Values of `RFT_FAILPOINTS`.
    pub deaths: &'static [&'static str],
    /// Options of the program.
    pub options: &'static [&'static str],
    pub listens: Listens,
}

const fn plain(deaths: &'static [&'static str]) -> Plan {
    Plan { deaths, options: &[], listens: Listens::Nobody }
}

const fn with(options: &'static [&'static str], deaths: &'static [&'static str]) -> Plan {
    Plan { deaths, options, listens: Listens::Nobody }
}

/// Opening, and the recovery after an earlier kill.
pub const START: &[Plan] = &[
    // The program tries two folders.
    plain(&[
        "start.probe_made=kill",
        "start.probe_made=kill@2",
        "start.probed=kill",
        "start.probed=kill@2",
    ]),
    plain(&[
        "start.locked=kill",
        "ledger.verified=kill",
        "ledger.committing=kill",
        "ledger.open=kill",
        "ledger.made=kill",
    ]),
    plain(&["start.recovered=kill", "start.listening=kill", "session.begun=kill"]),
    Plan {
        deaths: &[
            "handshake.initiator_done=kill",
            "handshake.adopted=kill",
            "handshake.initiator_done=kill",
        ],
        listens: Listens::Other,
        options: &[],
    },
    Plan {
        deaths: &[
            "handshake.responder_sure=kill",
            "handshake.adopted=kill",
            "handshake.responder_sure=kill",
        ],
        listens: Listens::Dier,
        options: &[],
    },
    plain(&["publish.committing=kill", "recover.entry=kill", "recover.entry=kill"]),
    plain(&["publish.placed=kill", "recover.placed=kill", "recover.committed=kill"]),
    plain(&["publish.durable=kill@2", "recover.placed=kill"]),
    plain(&["remove.taken=kill", "start.removing=kill", "start.removed=kill"]),
    plain(&["remove.taken=kill@4", "remove.unlinked=kill@3"]),
];

/// The sender, from the queue to the last message about a file.
pub const SENDER: &[Plan] = &[
    plain(&["send.handed_out=kill", "send.handed_out=kill@9"]),
    plain(&["send.bare=kill", "send.bare=kill@2"]),
    plain(&["send.small=kill", "send.small=kill@5"]),
    plain(&["send.offered=kill", "send.offered=kill@3"]),
    plain(&["send.begun=kill", "send.begun=kill@2"]),
    plain(&["send.sealing=kill", "send.sealing=kill@30"]),
    plain(&["send.chunk=kill", "send.chunk=kill@30"]),
    plain(&["send.last_chunk=kill", "send.last_chunk=kill@2"]),
    plain(&["send.receipted=kill", "send.receipted=kill@4"]),
    plain(&["remove.taking=kill", "remove.taking=kill@3"]),
    plain(&["remove.taken=kill", "remove.taken=kill@3"]),
    plain(&["remove.synced=kill", "remove.synced=kill"]),
    plain(&["remove.unlinking=kill", "remove.unlinking=kill@3"]),
    plain(&["remove.unlinked=kill", "remove.unlinked=kill@3"]),
    plain(&["remove.folder=kill", "remove.folder=kill@2"]),
    with(&["--after-send", "archive"], &["archive.placing=kill", "archive.placing=kill@3"]),
    with(&["--after-send", "archive"], &["archive.placed=kill", "archive.placed=kill@3"]),
    with(&["--after-send", "archive"], &["remove.taken=kill@2", "remove.synced=kill"]),
    with(&["--after-send", "keep"], &["keep.marking=kill", "keep.marking=kill"]),
    with(&["--after-send", "keep"], &["keep.marked=kill", "keep.marked=kill"]),
    plain(&["send.forgetting=kill", "send.forgetting=kill"]),
    plain(&["send.forget_told=kill", "send.forget_told=kill"]),
];

/// The receiver, from the offer until it may forget the transfer.
pub const RECEIVER: &[Plan] = &[
    plain(&["receive.offer=kill", "receive.offer=kill@8"]),
    plain(&["stage.created=kill", "stage.created=kill@2"]),
    plain(&["receive.accepting=kill", "receive.accepting=kill@2"]),
    plain(&["stage.written=kill", "stage.written=kill@30"]),
    plain(&["stage.opened=kill", "stage.opened=kill@30"]),
    plain(&["stage.synced=kill", "stage.synced=kill"]),
    plain(&["stage.checkpoint_made=kill", "stage.checkpoint_made=kill"]),
    plain(&["stage.checkpoint_written=kill", "stage.checkpoint_written=kill"]),
    plain(&["receive.whole=kill", "receive.whole=kill@9"]),
    plain(&["publish.small_created=kill", "publish.small_created=kill@3"]),
    plain(&["publish.staged=kill", "publish.staged=kill@2"]),
    plain(&["publish.synced=kill", "publish.synced=kill@2"]),
    plain(&["publish.committing=kill", "publish.committing=kill@2"]),
    plain(&["publish.placed=kill", "publish.placed=kill@5"]),
    plain(&["publish.durable=kill", "publish.durable=kill@2"]),
    plain(&["publish.committed=kill", "publish.committed=kill@2"]),
    plain(&["receive.receipting=kill", "receive.receipting=kill@7"]),
    plain(&["receive.receipted=kill", "receive.receipted=kill@7"]),
    plain(&["receive.forgetting=kill", "receive.forgetting=kill"]),
    plain(&["stage.discarding=kill", "stage.discarding=kill@3"]),
    plain(&["receive.forgotten=kill", "receive.forgotten=kill"]),
];

/// Received files for which a program is run, before or after they appear.
pub const HOOKS: &[Plan] = &[
    with(
        &["--on-received", "/bin/true", "--quarantine"],
        &[
            "quarantine.staged=kill",
            "quarantine.staged=kill@4",
            "quarantine.named=kill",
            "quarantine.emptied=kill",
            "quarantine.named=kill@4",
            "quarantine.releasing=kill",
            "quarantine.releasing=kill@3",
            "quarantine.released=kill",
            "quarantine.released=kill@3",
            "publish.committing=kill",
            "publish.placed=kill",
        ],
    ),
    with(
        &["--on-received", "/bin/true"],
        &["hook.ended=kill", "hook.ended=kill@3", "hook.recorded=kill", "hook.recorded=kill@3"],
    ),
];

/// Names that are taken in Incoming.
pub const CONFLICTS: &[Plan] = &[
    plain(&["publish.same=kill", "recover.entry=kill", "publish.placed=kill"]),
    with(
        &["--on-conflict", "overwrite"],
        &["publish.replacing=kill", "recover.entry=kill", "publish.placed=kill@2"],
    ),
    with(
        &["--on-conflict", "skip"],
        &[
            "publish.committing=kill",
            "recover.dropping=kill",
            "publish.refused=kill",
            "publish.refused=kill",
        ],
    ),
];

/// All plans.
pub fn all() -> impl Iterator<Item = &'static Plan> {
    [START, SENDER, RECEIVER, HOOKS, CONFLICTS].into_iter().flatten()
}
