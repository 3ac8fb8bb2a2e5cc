//! The UDP port of the process, bound before the endpoint begins.

use super::socket;
use crate::cause;
use crate::config::{Bind, Config};
use std::io;
use std::net::{SocketAddr, UdpSocket};

/// Datagrams that are dropped from a port before its endpoint begins.
const MAX_DISCARDED: usize = 4096;

/// The configured address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind UDP {addr}: {}; {advice}", cause::of(.source))]
pub struct BindError {
    addr: String,
    source: io::Error,
    /// The remedy.
    advice: &'static str,
}

impl BindError {
    /// Whether another socket has the port.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// A port that is bound and taken while this lives, for an endpoint to come.
#[derive(Debug)]
pub struct Port {
    pub(super) socket: UdpSocket,
    /// The configured port was taken.
    pub(super) ephemeral: bool,
}

impl Port {
    /// Binds the configured address. If its port is taken and there is a peer to dial, binds an
    /// ephemeral port instead. Needs no runtime.
    ///
    /// # Errors
    /// No address could be bound.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        let attempt = |port| match config.bind {
            Some(bind) => socket::bind(SocketAddr::new(bind.addr, port)),
            None => socket::bind_all(port),
        };
        let port = config.bind.and_then(|bind| bind.port).unwrap_or(config.port);
        let error = match attempt(port) {
            Ok(socket) => return Ok(Self { socket, ephemeral: false }),
            Err(error) => error,
        };
        let taken = error.kind() == io::ErrorKind::AddrInUse;
        let chosen = config.bind.is_some_and(|bind| bind.port.is_some());
        if taken && config.peer.is_some() && !chosen {
            return attempt(0)
                .map(|socket| Self { socket, ephemeral: true })
                .map_err(|error| bind_error(config.bind, 0, error));
        }
        Err(bind_error(config.bind, port, error))
    }

    /// The local address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket itself, for a use without an endpoint.
    pub fn into_socket(self) -> UdpSocket {
        self.socket
    }

    /// Drops the packets that have come so far: the peer's dials that nothing answered, and that it has given
    /// up.
    pub(super) fn discard(&self) {
        let none_left = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        let _ = (0..MAX_DISCARDED).find(|_| self.socket.recv(&mut [0]).is_err_and(none_left));
    }
}

fn bind_error(bind: Option<Bind>, port: u16, source: io::Error) -> BindError {
    let advice = match source.kind() {
        io::ErrorKind::AddrInUse => "stop that program, or choose another port",
        io::ErrorKind::PermissionDenied => "ports below 1024 need rights: choose a higher one",
        io::ErrorKind::AddrNotAvailable => "see --bind",
        _ => "choose another port or --bind address",
    };
    let addr = match bind {
        Some(bind) => SocketAddr::new(bind.addr, port).to_string(),
        None => format!("port {port}"),
    };
    BindError { addr, source, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_drops_what_came_before_its_endpoint_begins() {
        let mut config = Config::new(None, 0, "unused");
        config.bind = Some(Bind { addr: [127, 0, 0, 1].into(), port: Some(0) });
        let port = Port::bind(&config).unwrap();
        for length in [1, 1000] {
            UdpSocket::bind("127.0.0.1:0")
                .unwrap()
                .send_to(&vec![7; length], port.local().unwrap())
                .unwrap();
        }
        port.discard();
        assert_eq!(port.socket.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
