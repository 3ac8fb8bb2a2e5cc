//! The phases of the controller, and the table of transitions between them. Pure: it
//! sees facts about a round, and no measurements.
//!
//! Startup finds the path's rate. From then on the controller cycles: ProbeDown drains the queue,
//! Cruise sends at the path's rate, and ProbeUp looks for more. ProbeRTT interrupts Cruise to
//! measure the minimum RTT again. These are the phases of draft-ietf-ccwg-bbr. Competitive mode
//! (Copa's term) shares a path with a loss-based sender, which keeps the queue full at any rate of
//! this sender; a competitive probe pauses now and then to see whether that sender has left.

/// A phase of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The window grows exponentially until the path is full.
    Startup,
    /// The window is smaller than the BDP, so that the queue drains.
    ProbeDown,
    /// The window matches the BDP.
    Cruise,
    /// The window exceeds the BDP, to find out whether the path carries more.
    ProbeUp,
    /// The window is half of the BDP, to measure the RTT without a queue.
    ProbeRtt,
    /// The window follows CUBIC, beside a loss-based sender.
    Competitive,
    /// The window is half of the BDP, to find out whether the loss-based sender has left.
    CompetitiveProbe,
}

/// Facts about the last round. Each fact is read in the phases that its description names, and is
/// false elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoundFacts {
    /// Startup: the path is full.
    pub path_full: bool,
    /// Competitive: a competitive probe is due. Other phases except Startup: their rounds are over.
    pub time_is_up: bool,
    /// ProbeDown, Cruise: a queue persists that this sender does not cause.
    pub foreign_queue: bool,
    /// Cruise: the minimum RTT has not been seen for a long time.
    pub min_rtt_is_old: bool,
    /// Cruise, ProbeUp: the delivery rate grew, without a queue.
    pub rate_grew: bool,
    /// ProbeUp: the gain was the full one, not the cautious first one.
    pub full_gain: bool,
    /// CompetitiveProbe: the queue has drained.
    pub queue_is_gone: bool,
}

/// The phase to enter, or `None` if the current one goes on. ProbeUp can follow itself: the first
/// time with a cautious gain, then with the full one.
pub(super) fn next(phase: Phase, facts: RoundFacts) -> Option<Phase> {
    match phase {
        Phase::Startup => facts.path_full.then_some(Phase::ProbeDown),
        Phase::ProbeDown | Phase::Cruise if facts.foreign_queue => Some(Phase::Competitive),
        Phase::ProbeDown => facts.time_is_up.then_some(Phase::Cruise),
        Phase::Cruise if facts.time_is_up && facts.min_rtt_is_old => Some(Phase::ProbeRtt),
        Phase::Cruise => (facts.time_is_up || facts.rate_grew).then_some(Phase::ProbeUp),
        Phase::ProbeUp if !facts.time_is_up => None,
        Phase::ProbeUp if !facts.rate_grew => Some(Phase::ProbeDown),
        Phase::ProbeUp if facts.full_gain => Some(Phase::Startup),
        Phase::ProbeUp => Some(Phase::ProbeUp),
        Phase::ProbeRtt => facts.time_is_up.then_some(Phase::Cruise),
        Phase::Competitive => facts.time_is_up.then_some(Phase::CompetitiveProbe),
        Phase::CompetitiveProbe if !facts.time_is_up => None,
        Phase::CompetitiveProbe if facts.queue_is_gone => Some(Phase::Cruise),
        Phase::CompetitiveProbe => Some(Phase::Competitive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    const PHASES: [Phase; 7] = [
        Phase::Startup,
        Phase::ProbeDown,
        Phase::Cruise,
        Phase::ProbeUp,
        Phase::ProbeRtt,
        Phase::Competitive,
        Phase::CompetitiveProbe,
    ];

    type Fact = (&'static str, fn(&mut RoundFacts) -> &mut bool);
    const FACTS: [Fact; 7] = [
        ("path full", |facts| &mut facts.path_full),
        ("time is up", |facts| &mut facts.time_is_up),
        ("foreign queue", |facts| &mut facts.foreign_queue),
        ("minimum RTT is old", |facts| &mut facts.min_rtt_is_old),
        ("rate grew", |facts| &mut facts.rate_grew),
        ("full gain", |facts| &mut facts.full_gain),
        ("queue is gone", |facts| &mut facts.queue_is_gone),
    ];

    fn facts(bits: usize) -> RoundFacts {
        let mut facts = RoundFacts::default();
        for (n, (_, fact)) in FACTS.iter().enumerate() {
            *fact(&mut facts) = bits & (1 << n) != 0;
        }
        facts
    }

    fn name(bits: usize) -> String {
        let names: Vec<_> =
            FACTS.iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0).collect();
        names.iter().map(|(_, (name, _))| *name).collect::<Vec<_>>().join(", ")
    }

    /// For each phase and each successor: the smallest sets of facts that lead there.
    fn table() -> String {
        let mut table = String::new();
        for from in PHASES {
            for to in PHASES {
                let leads: Vec<usize> = (0..1 << FACTS.len())
                    .filter(|bits| next(from, facts(*bits)) == Some(to))
                    .collect();
                for bits in &leads {
                    if leads.iter().all(|other| other == bits || bits & other != *other) {
                        writeln!(table, "{from:?} -> {to:?}: {}", name(*bits)).unwrap();
                    }
                }
            }
        }
        table
    }

    #[test]
    fn the_table_of_transitions_is_this_one() {
        let expected = "\
Startup -> ProbeDown: path full
ProbeDown -> Cruise: time is up
ProbeDown -> Competitive: foreign queue
Cruise -> ProbeUp: time is up
Cruise -> ProbeUp: rate grew
Cruise -> ProbeRtt: time is up, minimum RTT is old
Cruise -> Competitive: foreign queue
ProbeUp -> Startup: time is up, rate grew, full gain
ProbeUp -> ProbeDown: time is up
ProbeUp -> ProbeUp: time is up, rate grew
ProbeRtt -> Cruise: time is up
Competitive -> CompetitiveProbe: time is up
CompetitiveProbe -> Cruise: time is up, queue is gone
CompetitiveProbe -> Competitive: time is up
";
        let table = table();
        println!("{table}");
        assert_eq!(table, expected);
    }

    /// The table shows the smallest sets of facts. Where two of them hold at once, this order
    /// decides.
    #[test]
    fn where_two_transitions_apply_the_more_urgent_one_is_taken() {
        let all = facts(usize::MAX);
        assert_eq!(next(Phase::ProbeDown, all), Some(Phase::Competitive));
        assert_eq!(next(Phase::Cruise, all), Some(Phase::Competitive));
        let alone = RoundFacts { foreign_queue: false, ..all };
        assert_eq!(next(Phase::Cruise, alone), Some(Phase::ProbeRtt));
    }

    #[test]
    fn no_phase_ends_without_a_reason() {
        for phase in PHASES {
            assert_eq!(next(phase, RoundFacts::default()), None);
        }
    }
}
