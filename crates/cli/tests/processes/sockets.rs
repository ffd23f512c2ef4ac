//! Which process is at the other end of a connection on this machine, from `/proc`.
//!
//! Nodes tell each other where they are, so each dialer cannot be given addresses of its own; but
//! here all processes are local, and the kernel knows whose a socket is.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// A TCP connection as one of its ends sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    /// 0 for a socket that no process holds any more.
    inode: u64,
}

/// The first of these processes that holds the end of a connection which is at `local`.
pub(crate) fn owner(
    local: SocketAddr,
    remote: SocketAddr,
    mut processes: impl Iterator<Item = u32>,
) -> Option<u32> {
    let ends = |socket: &Socket| (socket.local, socket.remote) == (local, remote);
    let inode = established().into_iter().find(ends)?.inode;
    processes.find(|process| holds(*process, inode))
}

/// Whether one of these processes is connected to `target`.
pub(crate) fn reaches(target: SocketAddr, mut processes: impl Iterator<Item = u32>) -> bool {
    let dials = |socket: &&Socket| socket.remote == target;
    let sockets: Vec<Socket> = established().iter().filter(dials).copied().collect();
    processes.any(|process| sockets.iter().any(|socket| holds(process, socket.inode)))
}

fn holds(process: u32, inode: u64) -> bool {
    let name = format!("socket:[{inode}]");
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    inode != 0
        && files
            .map(|file| fs::read_link(file.path()))
            .any(|link| link.is_ok_and(|link| link.as_os_str() == name.as_str()))
}

/// All connections over IPv4 that are established.
fn established() -> Vec<Socket> {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    table.lines().skip(1).filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, remote) = (address(fields.get(1)?)?, address(fields.get(2)?)?);
    let inode = fields.get(9)?.parse().ok()?;
    (*fields.get(3)? == "01").then_some(Socket { local, remote, inode })
}

/// The address is in the machine's own order of bytes, the port is not.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(address), port).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_process_that_dials_is_found() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let near = TcpStream::connect(address).unwrap();
        let (far, dialer) = listener.accept().unwrap();
        let own = std::process::id();
        assert_eq!(owner(dialer, address, [1, own].into_iter()), Some(own));
        assert_eq!(owner(dialer, address, [1].into_iter()), None);
        assert!(reaches(address, [1, own].into_iter()));
        assert!(!reaches(address, [1].into_iter()));
        drop(near);
        assert_eq!(owner(dialer, address, [own].into_iter()), None);
        drop(far);
    }

    #[test]
    fn another_process_that_dials_is_found() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{} && read -u 3", address.port());
        let mut bash = std::process::Command::new("bash").args(["-c", &script]).spawn().unwrap();
        let (far, dialer) = listener.accept().unwrap();
        assert_eq!(owner(dialer, address, [bash.id()].into_iter()), Some(bash.id()));
        assert!(reaches(address, [bash.id()].into_iter()));
        drop(far);
        bash.wait().unwrap();
    }
}
