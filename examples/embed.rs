//! A peer inside your own program: it prints the received files, and stops at Ctrl-C.
//!
//! ```text
//! RFT_PASSWORD='the same on both hosts' cargo run --example embed -- bob.example.org 4000 /srv/exchange
//! ```
//!
//! The other side is any rft with the same password, for example `rft alice.example.org 4000`.

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

    // The settings of the command line's options; `Config::new` has their defaults. Outgoing,
    // Incoming and .rft are created in the folder.
    let mut config = Config::new(Some(PeerAddress { host, port }), port, dir);
    config.after_send = AfterSend::Archive;

    // Stretched with Argon2id: about 0.2 s and 64 MiB, once.
    let password = Password::new(&std::env::var("RFT_PASSWORD")?)?;
    let key = PasswordKey::derive(&password)?;
    drop(password);

    // Called from many threads. It must return soon: send slow work through a channel.
    let events = EventSink::new(|event| match event {
        Event::Connected { peer, .. } => println!("connected to {peer}"),
        Event::FileDone { direction: Direction::Receive, path, size, saved_as, .. } => {
            // The peer chooses the name: `Display` escapes it, `Name::to_path` is the real path.
            println!("{} is complete, {size} bytes", saved_as.unwrap_or(path));
        }
        Event::FileFailed { path, error, retry, .. } => {
            println!("{path}: {error}{}", if retry { " (tried again)" } else { "" });
        }
        Event::Warning { message, .. } => println!("warning: {message}"),
        _ => {}
    });

    // The peer stops when this future completes. The next run resumes unfinished files.
    let shutdown = async { drop(tokio::signal::ctrl_c().await) };

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(daemon::run(config, key, events, shutdown)) {
        Ok(finished) => {
            println!("ended: {finished:?}");
            Ok(ExitCode::SUCCESS)
        }
        // The text says what happened and what to do; `rft` would exit with the same code.
        Err(error) => {
            println!("{error}");
            Ok(ExitCode::from(error.exit_code()))
        }
    }
}
