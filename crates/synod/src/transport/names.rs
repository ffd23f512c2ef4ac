//! Names of hosts. A name may have several addresses, and not all of them need lead anywhere:
//! `localhost` is `::1` and `127.0.0.1`, and a node listens on one of them.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
};

/// All addresses of `name`, a host and a port, the preferred one first; at least one. Takes as
/// long as the network pleases.
///
/// # Errors
/// When there is none, or nobody can tell.
pub(crate) fn all(name: &str) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = name.to_socket_addrs()?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// The address of `name` to try when so many have been tried in vain.
///
/// # Errors
/// As [`all`].
pub(crate) fn after(name: &str, failures: usize) -> io::Result<SocketAddr> {
    all(name).map(|addresses| in_turn(&addresses, failures))
}

fn in_turn(addresses: &[SocketAddr], failures: usize) -> SocketAddr {
    addresses[failures % addresses.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_tried_in_turn() {
        let both = ["[::1]:7001", "127.0.0.1:7001"].map(|text| text.parse().expect("an address"));
        let tried: Vec<_> = (0..4).map(|failures| in_turn(&both, failures)).collect();
        assert_eq!(tried, [both[0], both[1], both[0], both[1]]);
    }

    #[test]
    fn what_is_no_name_is_an_error() {
        assert!(all("here").is_err());
        assert_eq!(all("127.0.0.1:1").expect("needs nobody"), ["127.0.0.1:1".parse().expect("so")]);
    }
}
