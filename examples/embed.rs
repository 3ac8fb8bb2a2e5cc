//! rft inside another program: it prints the files that arrive, and stops at Ctrl-C.
//!
//! ```text
//! RFT_PASSWORD='the same on both hosts' cargo run --example embed -- bob.example.org 4000 /srv/exchange
//! ```
//!
//! The other side is any rft with the same password, for example `rft alice.example.org 4000`.

// Printing is the purpose of this program.
#![allow(clippy::print_stdout)]

use rft::Daemon;
use rft::config::{AfterSend, Config, PeerAddress};
use rft::event::{Direction, Event, PeerEvent};
use rft::{Password, PasswordKey};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(host), Some(port), Some(dir)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: embed HOST PORT DIR, with the password in RFT_PASSWORD".into());
    };
    let port = port.parse()?;

    // `Config::new` has the defaults of the command line's options. Outgoing, Incoming and .rft
    // are created in the folder.
    let mut config = Config::new(Some(PeerAddress { host, port }), port, dir);
    config.after_send = AfterSend::Archive;

    // Argon2id takes about 0.2 s and 64 MiB.
    let password = Password::new(&std::env::var("RFT_PASSWORD")?)?;
    let key = PasswordKey::derive(&password)?;
    drop(password);

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let finished = runtime.block_on(async {
        // The observer runs on the engine's threads and should return soon. A program that may
        // miss events when it is slow uses `Handle::subscribe` instead.
        let handle = Daemon::start(config, key, print)?;
        tokio::select! {
            // Ends by itself on an error only; with `Config::drain` also when all is exchanged.
            end = handle.wait() => return end,
            _ = tokio::signal::ctrl_c() => handle.stop(),
        }
        let end = handle.wait().await;
        for peer in handle.status().peers {
            println!(
                "{}: {} files sent, {} received",
                peer.name, peer.send.since_start.files, peer.receive.since_start.files
            );
        }
        end
    });
    // The error is a message for people; `RunError::kind` is for decisions.
    println!("ended: {:?}", finished?);
    Ok(())
}

fn print(told: PeerEvent) {
    match told.event {
        Event::Connected { peer, .. } => println!("connected to {peer}"),
        Event::FileDone { direction: Direction::Receive, path, size, saved_as, .. } => {
            // The peer chooses names: their `Display` is escaped, `Name::to_path` is exact.
            println!("{} is complete, {size} bytes", saved_as.unwrap_or(path));
        }
        Event::FileFailed { path, error, retry, .. } => {
            println!("{path}: {error}{}", if retry { " (tried again)" } else { "" });
        }
        Event::Warning { message, .. } => println!("warning: {message}"),
        _ => {}
    }
}
