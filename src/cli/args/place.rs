//! The words PEER and PORT, in the forms that people type: `bob 4000`, `bob:4000`,
//! `[2001:db8::1]:4000`, `-p 4000 bob`, `listen 4000`. Each other form gets a sentence with the line
//! to type instead.

use super::{LISTEN, address};
use crate::cli::exit::{self, Failure};
use clap::{Args, ValueHint};
use rft::escape;
use std::path::Path;

/// The port of the documents' examples.
pub(super) const EXAMPLE_PORT: &str = "4000";

/// PEER and PORT as clap reads them. None is required and the rest is taken as well: the parser
/// would complain in its own words.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The other host's IP address or name; `listen` accepts any with the password
    #[arg(value_name = "PEER", value_hint = ValueHint::Hostname, allow_negative_numbers = true)]
    peer: Option<String>,
    /// UDP port, 1-65535, the same on both hosts
    #[arg(value_name = "PORT", allow_negative_numbers = true)]
    port: Option<String>,
    #[arg(hide = true, allow_negative_numbers = true)]
    rest: Vec<String>,
    /// PORT as an option, as `PEER:PORT` has it in one word
    #[arg(
        id = "port_option",
        short = 'p',
        long = "port",
        value_name = "PORT",
        allow_negative_numbers = true,
        help_heading = "Network",
        hide_short_help = true
    )]
    port_option: Option<String>,
}

/// The peer to exchange files with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `None` accepts any peer that knows the password.
    pub(super) host: Option<String>,
    pub(super) port: u16,
}

impl Place {
    /// These words.
    pub(super) fn of(words: Vec<String>) -> Self {
        let mut words = words.into_iter();
        let (peer, port) = (words.next(), words.next());
        Self { peer, port, rest: words.collect(), port_option: None }
    }

    /// The words, of which none is a port: the first, and those after it.
    pub(super) fn without_port(&self) -> Option<(&str, Vec<&str>)> {
        let first = self.peer.as_deref().filter(|first| split(first).1.is_none())?;
        let after = self.port.iter().chain(&self.rest).map(String::as_str).collect();
        (!self.has_port()).then_some((first, after))
    }

    /// PEER without a port.
    pub(super) fn host_word(&self) -> Option<&str> {
        self.peer.as_deref().map(|first| split(first).0)
    }

    /// Whether the port is given in any form.
    pub(super) fn gives_port(&self) -> bool {
        self.has_port() || self.peer.as_deref().is_some_and(|first| split(first).1.is_some())
    }

    fn has_port(&self) -> bool {
        self.port_option.is_some() || self.port.as_deref().is_some_and(is_number)
    }

    /// The peer that the words name; `None` without any. `rft` is the command that takes them, for
    /// the lines to type.
    ///
    /// # Errors
    /// Exit codes 2, 3 and 4: words, PEER, PORT.
    pub(super) fn target(&self, rft: &str) -> Result<Option<Target>, Failure> {
        let line = Line { rft };
        if let Some(port) = self.port_option.as_deref().filter(|port| !is_number(port)) {
            return Err(line.not_a_port_option(port));
        }
        let Some(first) = self.peer.as_deref() else {
            let port = self.port_option.as_deref();
            return port.map_or(Ok(None), |port| Err(line.peer_is_missing(port)));
        };
        let (host, attached) = split(first);
        let mut extra: Vec<&str> = self.rest.iter().map(String::as_str).collect();
        let mut second = self.port.as_deref();
        let elsewhere = attached.or(self.port_option.as_deref());
        if elsewhere.is_some() && second.is_some_and(|word| !is_number(word)) {
            extra.splice(..0, second.take());
        }
        let given: Vec<&str> =
            attached.into_iter().chain(self.port_option.as_deref()).chain(second).collect();
        if host == LISTEN {
            return line.listen(attached, &given, &extra).map(Some);
        }
        let port = given.iter().find(|port| is_port(port)).copied();
        line.only_a_host(first, port)?;
        if host.is_empty() || (attached.is_none() && host.bytes().all(|b| b.is_ascii_digit())) {
            return Err(match second.filter(|word| !is_number(word)) {
                Some(word) => line.swapped(host, word),
                None => line.peer_is_missing(attached.unwrap_or(host)),
            });
        }
        let host_only = address::peer(host).map_err(|failure| {
            with(failure, &format!(", for example: {rft} bob.example.org {EXAMPLE_PORT}"))
        })?;
        let port = line.one_port(host, &given)?;
        match extra.first() {
            Some(word) => Err(line.too_much(host, port, word)),
            None => Ok(Some(Target { host: Some(host_only), port })),
        }
    }
}

/// The sentences, for the command `rft`.
struct Line<'a> {
    rft: &'a str,
}

impl Line<'_> {
    /// `rft listen PORT`.
    fn listen(
        &self,
        attached: Option<&str>,
        given: &[&str],
        extra: &[&str],
    ) -> Result<Target, Failure> {
        let rft = self.rft;
        let port = extra.iter().chain(given).find(|port| is_port(port)).unwrap_or(&EXAMPLE_PORT);
        if let Some(attached) = attached {
            let attached = shown(attached);
            return Err(Failure::usage(format!(
                "{LISTEN}:{attached} is no host: {LISTEN} is a word of its own; type: {rft} {LISTEN} {port}"
            )));
        }
        if !extra.is_empty() {
            // `listen bob 4000`, or something after the port.
            let host = given.first().filter(|word| address::peer(word).is_ok());
            let other = host.map_or_else(String::new, |host| {
                format!(", or for {host} alone: {rft} {host} {port}")
            });
            return Err(Failure::usage(format!(
                "{LISTEN} accepts any peer that knows the password and takes nothing but the port; type: {rft} {LISTEN} {port}{other}"
            )));
        }
        Ok(Target { host: None, port: self.one_port(LISTEN, given)? })
    }

    /// The one port of all that are given.
    fn one_port(&self, host: &str, given: &[&str]) -> Result<u16, Failure> {
        let (rft, host) = (self.rft, shown(host));
        let Some((&port, others)) = given.split_first() else {
            return Err(Failure::usage(format!(
                "the port is missing; type the same one on both hosts, for example: {rft} {host} {EXAMPLE_PORT}"
            )));
        };
        if let Some(other) = others.iter().find(|&&other| other != port) {
            let (port, other) = (shown(port), shown(other));
            return Err(Failure::usage(format!(
                "there are two ports, {port} and {other}; type one of them: {rft} {host} {port}"
            )));
        }
        address::port(port).map_err(|failure| {
            with(failure, &format!(", for example: {rft} {host} {EXAMPLE_PORT}"))
        })
    }

    fn peer_is_missing(&self, port: &str) -> Failure {
        let (rft, port) = (self.rft, if is_port(port) { port } else { EXAMPLE_PORT });
        Failure::usage(format!(
            "the other host is missing; type: {rft} PEER {port}, or to accept any peer that knows the password: {rft} {LISTEN} {port}"
        ))
    }

    /// The value is not repeated: other programs take a password there.
    fn not_a_port_option(&self, port: &str) -> Failure {
        let rft = self.rft;
        let code = if port.is_empty() { exit::ARGUMENTS } else { exit::PORT };
        Failure::new(
            code,
            format!(
                "-p is the port, a number from 1 to 65535, and never the password; type: {rft} -p {EXAMPLE_PORT} PEER"
            ),
        )
    }

    /// `4000 bob`.
    fn swapped(&self, port: &str, host: &str) -> Failure {
        let (rft, port, host) = (self.rft, shown(port), shown(host));
        Failure::new(exit::PEER, format!("PEER comes before PORT; type: {rft} {host} {port}"))
    }

    /// Refuses URLs and `user@host`.
    fn only_a_host(&self, text: &str, port: Option<&str>) -> Result<(), Failure> {
        let (what, rest) = match text.split_once("://") {
            Some((_, rest)) => ("a URL", rest),
            None if text.contains('@') => ("a user with a host", text),
            None => return Ok(()),
        };
        let place = rest.split('/').next().unwrap_or_default();
        let place = place.rsplit('@').next().unwrap_or_default();
        let (host, attached) = split(place);
        let port = attached.filter(|port| is_port(port)).or(port).unwrap_or(EXAMPLE_PORT);
        let host = if address::peer(host).is_ok() { host } else { "PEER" };
        let (rft, text) = (self.rft, shown(text));
        Err(Failure::new(
            exit::PEER,
            format!(
                "{text} is {what}, and PEER is only the host's name or IP address; type: {rft} {host} {port}"
            ),
        ))
    }

    /// A word after PEER and PORT.
    fn too_much(&self, host: &str, port: u16, word: &str) -> Failure {
        let rft = self.rft;
        let is_folder = word.contains(std::path::is_separator) || Path::new(word).is_dir();
        let word = shown(word);
        Failure::usage(if is_folder && rft == "rft" {
            format!(
                "{word} is one word too many: the folder of files to send is an option; type: {rft} --outgoing {word} {host} {port}"
            )
        } else {
            format!("{word} is one word too many after PEER and PORT; type: {rft} {host} {port}")
        })
    }
}

/// Nothing at all is on the command line.
pub(super) fn nothing() -> Failure {
    Failure::usage(format!(
        "the other host and the port are missing; type: rft PEER PORT, for example: rft bob.example.org {EXAMPLE_PORT} (rft -h shows more)"
    ))
}

/// PEER and the port attached to it. An IPv6 address needs brackets for one.
fn split(text: &str) -> (&str, Option<&str>) {
    if text.contains("://") {
        return (text, None);
    }
    if let Some(end) = text.find(']').filter(|_| text.starts_with('[')) {
        return match text[end + 1..].strip_prefix(':') {
            Some(port) => (&text[..=end], Some(port)),
            None => (text, None),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_port(text: &str) -> bool {
    address::port(text).is_ok()
}

/// The text for a terminal.
fn shown(text: &str) -> String {
    escape(text.as_bytes())
}

fn with(failure: Failure, more: &str) -> Failure {
    Failure::new(failure.code, failure.reason + more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        place: Place,
    }

    fn target(line: &str) -> Result<Option<Target>, Failure> {
        let words = std::iter::once("rft").chain(line.split_whitespace());
        Words::try_parse_from(words).unwrap().place.target("rft")
    }

    #[test]
    fn all_forms_of_a_place() {
        let host = |host: &str| Some(host.to_owned());
        for (line, expected) in [
            ("bob 4000", host("bob")),
            ("bob:4000", host("bob")),
            ("-p 4000 bob", host("bob")),
            ("bob -p4000", host("bob")),
            ("bob --port=4000", host("bob")),
            ("bob:4000 4000", host("bob")),
            ("192.0.2.7:4000", host("192.0.2.7")),
            ("[2001:db8::1]:4000", host("2001:db8::1")),
            ("[2001:db8::1] 4000", host("2001:db8::1")),
            ("2001:db8::1 4000", host("2001:db8::1")),
            ("[fe80::1%eth0]:4000", host("fe80::1%eth0")),
            // A host may have the name of another program's command.
            ("send 4000", host("send")),
            ("get:4000", host("get")),
            ("statsu 4000", host("statsu")),
            ("listen 4000", None),
            ("-p 4000 listen", None),
        ] {
            let target = target(line).unwrap();
            assert_eq!(target, Some(Target { host: expected, port: 4000 }), "{line}");
        }
        assert_eq!(target("").unwrap(), None);
    }

    #[test]
    fn all_others_have_their_codes() {
        for (line, code) in [
            ("bob", 2),
            ("2001:db8::1", 2),
            ("2001:db8::1:4000", 2),
            ("listen", 2),
            ("listen:4000", 2),
            ("listen bob 4000", 2),
            ("4000", 2),
            (":4000", 2),
            ("-p 4000", 2),
            ("bob 4000 extra", 2),
            ("bob:4000 4001", 2),
            ("-p 4000 bob 4001", 2),
            ("4000 bob", 3),
            ("http://bob:4000", 3),
            ("alice@bob 4000", 3),
            ("1.2.3:4000", 3),
            ("[10.0.0.2]:4000", 3),
            ("bob:", 4),
            ("bob:99999", 4),
            ("bob:x", 4),
            ("bob 99999", 4),
            ("bob -1", 4),
            ("listen x", 4),
            ("-p x bob", 4),
            ("-p x bob 4000", 4),
        ] {
            assert_eq!(target(line).map_err(|failure| failure.code), Err(code), "{line}");
        }
    }

    #[test]
    fn a_password_after_p_is_not_repeated() {
        let failure = target("-p hunter2 bob 4000").unwrap_err();
        assert!(!failure.reason.contains("hunter2"), "{}", failure.reason);
    }
}
