//! Probes the peer's addresses while there is no session, to tell the user why.

use super::Fatal;
use super::state::PeeringState;
use crate::transport::reach;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A near peer that runs has answered by then, so it is never probed. Not later: routers and hosts
/// send few ICMP messages a second (RFC 1812 section 4.3.2.8), and the packets of a dial use them
/// up.
const FIRST_PROBE: Duration = Duration::from_millis(150);
/// Interval between probes: the user learns of a change within some seconds. A probe is one packet
/// to a port that answers, and three of 1,200 bytes to one that does not.
const INTERVAL: Duration = Duration::from_secs(5);
/// The same for a peer that has been absent for [`LONG`].
const IDLE_INTERVAL: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(3600);

/// Probes whenever a session is needed, until the connector ends.
pub(crate) async fn run(
    state: Arc<PeeringState>,
    mut needed: watch::Receiver<bool>,
) -> Result<(), Fatal> {
    loop {
        if needed.wait_for(|needed| *needed).await.is_err() {
            return Ok(());
        }
        tokio::select! {
            () = probe_on(&state) => {}
            gone = needed.wait_for(|needed| !*needed) => match gone {
                Ok(_) => state.findings().clear(),
                Err(_) => return Ok(()),
            }
        }
    }
}

async fn probe_on(state: &PeeringState) {
    let begun = Instant::now();
    tokio::time::sleep(FIRST_PROBE).await;
    loop {
        let next = Instant::now() + if begun.elapsed() < LONG { INTERVAL } else { IDLE_INTERVAL };
        // Aborted when it is dropped.
        let mut probes = JoinSet::new();
        for addr in state.findings().addresses() {
            let local = state.local.ip();
            probes.spawn(async move { (addr, reach::probe(local, addr).await) });
        }
        while let Some(done) = probes.join_next().await {
            if let Ok((addr, result)) = done {
                tracing::debug!(%addr, ?result, "probed");
                state.findings().probed(addr, result.map(drop));
            }
        }
        tokio::time::sleep_until(next.into()).await;
    }
}
