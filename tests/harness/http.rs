//! A client of `--metrics`.

use super::peer::Host;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An answer: all of it, as text.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The first line and the header fields.
    pub head: String,
    pub body: String,
}

/// The address of the running peer's `--metrics 0`, which its log has.
pub fn address(host: &Host) -> SocketAddr {
    let last = || {
        let log = fs::read_to_string(host.state().join("rft.log")).ok()?;
        let (_, rest) = log.rsplit_once("metrics and a page are at http://")?;
        // The line of a process that has ended may be the last one.
        let address: SocketAddr = rest.split('/').next()?.parse().ok()?;
        TcpStream::connect(address).is_ok().then_some(address)
    };
    super::until("the log has no address of the metrics", || last().is_some());
    last().unwrap()
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Everything that comes until the end of the connection, or its reset.
pub fn read_all(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut part) {
        all.extend_from_slice(&part[..count]);
    }
    all
}

/// Sends a request, as it is, and reads the answer to the end of the connection. `None` if there is
/// none.
pub fn send(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut stream = connect(address);
    // A server may answer, and close the connection, before it has read all.
    let _ = stream.write_all(request);
    let text = String::from_utf8(read_all(stream)).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    send(address, request.as_bytes()).unwrap()
}

/// The samples of `/metrics`, by their names and labels as they stand there.
pub fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let answer = get(address, "/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
    let split = samples.map(|line| line.rsplit_once(' ').unwrap());
    split.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}
