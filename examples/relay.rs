//! A slow, long, lossy link between two UDP addresses of this host, to try programs over it.
//!
//! ```text
//! cargo run --release --example relay -- 127.0.0.1:5001 127.0.0.2:5002 RATE DELAY_MS LOSS_PERCENT [SEED]
//! ```
//!
//! RATE is in bytes of UDP payload per second, 0 for no limit. DELAY_MS and LOSS_PERCENT apply to
//! each direction. A packet that would queue for more than 100 ms is dropped. The relay prints the
//! address that the first program must send to, then the one for the second, and runs until its
//! standard input ends.

// This program's output is its purpose.
#![allow(clippy::print_stdout)]

#[allow(dead_code, missing_docs, clippy::unwrap_used)] // the tests share it
#[path = "../tests/harness/relay.rs"]
mod relay;

use std::error::Error;
use std::io::Read;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [a, b, rate, delay, loss, seed @ ..] = &args[..] else {
        return Err("usage: relay ADDR ADDR RATE DELAY_MS LOSS_PERCENT [SEED]".into());
    };
    let seed = seed.first().map_or(Ok(1), |seed| seed.parse())?;
    let (rate, delay, loss) = (rate.parse()?, delay.parse()?, loss.parse::<f64>()? / 100.0);
    if !(0.0..=1.0).contains(&loss) {
        return Err("LOSS_PERCENT is between 0 and 100".into());
    }
    let link = relay::Relay::start(seed, a.parse()?, b.parse()?);
    link.edit_both(|line| {
        line.rate = Some(rate).filter(|rate| *rate > 0);
        (line.delay, line.loss) = (Duration::from_millis(delay), loss);
    });
    println!("{} {}", link.facing_a(), link.facing_b());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
