//! The ICMP messages that answer the packets of a socket. Only Linux tells a program more of them
//! than an error number.

pub(super) use system::{is_prohibited, report_errors};

#[cfg(target_os = "linux")]
mod system {
    use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
    use std::io::IoSliceMut;
    use std::net::SocketAddr;
    use std::os::fd::AsRawFd;
    use tokio::net::UdpSocket;

    /// `ee_origin` of an error that an ICMP message reported (linux/errqueue.h).
    const ORIGIN_ICMP: u8 = 2;
    /// Destination Unreachable (RFC 792).
    const UNREACHABLE: u8 = 3;
    /// Its codes for a network, a host or a packet that is administratively prohibited (RFC 1812
    /// section 5.2.7.1).
    const PROHIBITED: [u8; 3] = [9, 10, 13];
    /// Messages that are read at most; a probe has sent three packets.
    const MAX_MESSAGES: usize = 16;

    /// Linux reports an unreachable host or network only to a socket that asks for it. Without the
    /// option the probe finds silence.
    pub(crate) fn report_errors(socket: &std::net::UdpSocket, to: SocketAddr) {
        let _ = match to {
            SocketAddr::V4(_) => setsockopt(socket, Ipv4RecvErr, &true),
            SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvErr, &true),
        };
    }

    /// Whether one of the messages since the last call says that a firewall forbids the packets
    /// (over IPv4: Linux has an error number for it over IPv6).
    pub(crate) fn is_prohibited(socket: &UdpSocket) -> bool {
        (0..MAX_MESSAGES).map_while(|_| next(socket)).any(|(origin, kind, code)| {
            origin == ORIGIN_ICMP && kind == UNREACHABLE && PROHIBITED.contains(&code)
        })
    }

    /// Origin, type and code of the next message.
    fn next(socket: &UdpSocket) -> Option<(u8, u8, u8)> {
        // The queue has the packet too, and control messages that the socket's owner asked for.
        let (mut packet, mut control) = ([0; 64], [0; 512]);
        let mut parts = [IoSliceMut::new(&mut packet)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags);
        let message = message.ok()?;
        let error = message.cmsgs().ok()?.find_map(|part| match part {
            ControlMessageOwned::Ipv4RecvErr(error, _)
            | ControlMessageOwned::Ipv6RecvErr(error, _) => Some(error),
            _ => None,
        });
        error.map(|error| (error.ee_origin, error.ee_type, error.ee_code))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::net::SocketAddr;
    use tokio::net::UdpSocket;

    pub(crate) fn report_errors(_socket: &std::net::UdpSocket, _to: SocketAddr) {}

    pub(crate) fn is_prohibited(_socket: &UdpSocket) -> bool {
        false
    }
}
