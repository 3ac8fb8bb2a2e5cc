//! A peer inside a program of your own: it prints what arrives, and leaves at Ctrl-C.
//!
//! ```text
//! RFT_PASSWORD='the same on both hosts' cargo run --example embed -- bob.example.org 4000 /srv/exchange
//! ```
//!
//! The other side is any rft with the same password, `rft alice.example.org 4000` for one.

// This program's output is its purpose.
#![allow(clippy::print_stdout)]

use rft::config::{AfterSend, Config, PeerAddress};
use rft::crypto::password::{Password, PasswordKey};
use rft::daemon;
use rft::event::{Direction, Event, EventSink};
use std::error::Error;
use std::process::ExitCode;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(host), Some(port), Some(dir)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: embed HOST PORT DIR, with the password in RFT_PASSWORD".into());
    };
    let port = port.parse()?;

    // What the command line's options are for; `Config::new` has their defaults. The folder gets
    // Outgoing, Incoming and .rft.
    let mut config = Config::new(Some(PeerAddress { host, port }), port, dir);
    config.after_send = AfterSend::Archive;

    // Stretched with Argon2id: about 0.2 s and 64 MiB, once.
    let password = Password::new(&std::env::var("RFT_PASSWORD")?)?;
    let key = PasswordKey::derive(&password)?;
    drop(password);

    // Called from many threads; anything that takes time belongs behind a channel.
    let events = EventSink::new(|event| match event {
        Event::Connected { peer, .. } => println!("connected to {peer}"),
        Event::FileDone { direction: Direction::Receive, path, size, saved_as, .. } => {
            // Names come off the wire: their `Display` is escaped, `Name::to_path` is the real one.
            println!("{} is complete, {size} bytes", saved_as.unwrap_or(path));
        }
        Event::FileFailed { path, error, retry, .. } => {
            println!("{path}: {error}{}", if retry { " (tried again)" } else { "" });
        }
        Event::Warning { message, .. } => println!("warning: {message}"),
        _ => {}
    });

    // Completes when the peer is to leave. What is under way then is resumed the next time.
    let shutdown = async { drop(tokio::signal::ctrl_c().await) };

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(daemon::run(config, key, events, shutdown)) {
        Ok(finished) => {
            println!("ended: {finished:?}");
            Ok(ExitCode::SUCCESS)
        }
        // The text says what happened and what to do; the code is the one that `rft` would end
        // with.
        Err(error) => {
            println!("{error}");
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}
