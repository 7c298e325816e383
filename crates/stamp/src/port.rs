//! Sockets of a port, and who has it when we can't.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::Error;
use crate::socket::Socket;

/// Binds a port for both families, or for those that this host has.
pub(crate) fn bind(port: u16, device: Option<&str>, ttl: u8) -> Result<Vec<Socket>, Error> {
    let mut sockets = Vec::new();
    let mut refused = None;
    for is_v6 in [false, true] {
        // One port for both, if the kernel chooses it.
        let port = sockets.first().map_or(port, Socket::port);
        match Socket::bind(is_v6, port, device, ttl) {
            Ok(socket) => sockets.push(socket),
            Err(error) if is_without_family(&error) => refused = Some(error),
            Err(error) => return Err(failed(port, device, error)),
        }
    }
    match refused {
        Some(error) if sockets.is_empty() => Err(failed(port, device, error)),
        _ => Ok(sockets),
    }
}

fn is_without_family(error: &io::Error) -> bool {
    let without = [nix::errno::Errno::EAFNOSUPPORT as i32, nix::errno::Errno::EADDRNOTAVAIL as i32];
    error.raw_os_error().is_some_and(|code| without.contains(&code))
}

fn failed(port: u16, device: Option<&str>, source: io::Error) -> Error {
    match (source.kind(), device) {
        (ErrorKind::AddrInUse, _) => {
            Error::PortTaken { port, holder: holder(Path::new("/proc"), port) }
        }
        (ErrorKind::PermissionDenied, _) => Error::PortNotPermitted { port },
        _ if source.raw_os_error() == Some(nix::errno::Errno::ENODEV as i32) => {
            Error::NoDevice { device: device.unwrap_or_default().to_owned() }
        }
        _ => Error::Socket { action: "binding a UDP socket", source },
    }
}

/// Name and id of the process that has a UDP port, as far as its files can be seen.
pub fn holder(proc: &Path, port: u16) -> Option<String> {
    let inode = ["net/udp", "net/udp6"].iter().find_map(|table| {
        let text = fs::read_to_string(proc.join(table)).ok()?;
        text.lines().skip(1).find_map(|line| inode_of(line, port))
    })?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir(proc).ok()?.filter_map(Result::ok);
    let numbered =
        processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    numbered.map(|entry| entry.path()).find(|process| has(process, &socket)).map(|process| {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        let id = process.file_name().unwrap_or_default().to_string_lossy();
        format!("{} (process {id})", name.trim_end().escape_debug())
    })
}

fn has(process: &Path, socket: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    let links =
        descriptors.filter_map(Result::ok).filter_map(|entry| fs::read_link(entry.path()).ok());
    links.into_iter().any(|link| link.as_os_str() == socket)
}

/// The socket's number in one line of the kernel's table, if its local port is `port`.
fn inode_of(line: &str, port: u16) -> Option<u64> {
    let mut columns = line.split_ascii_whitespace();
    let (_, local) = columns.nth(1)?.split_once(':')?;
    let found = u16::from_str_radix(local, 16).ok()? == port;
    columns.nth(7).filter(|_| found)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{bind, inode_of};
    use crate::error::Error;

    #[test]
    fn the_process_that_has_a_port_is_named() {
        let held = bind(0, None, 255).unwrap();
        let port = held[0].port();
        let error = bind(port, None, 255).unwrap_err();
        let Error::PortTaken { holder: Some(holder), .. } = error else { panic!("{error}") };
        assert!(holder.ends_with(&format!("(process {})", std::process::id())), "{holder}");
    }

    #[test]
    fn both_families_have_the_same_port() {
        let sockets = bind(0, None, 255).unwrap();
        assert!(
            sockets.iter().all(|socket| socket.port() == sockets[0].port() && socket.port() != 0)
        );
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let error = bind(0, Some("nosuch0"), 255).unwrap_err();
        assert!(matches!(&error, Error::NoDevice { device } if device == "nosuch0"), "{error}");
    }

    #[test]
    fn a_line_of_the_table_tells_port_and_socket() {
        let line = " 1055: 0100007F:035E 00000000:0000 07 00000000:00000000 00:00000000 00000000  0  0 41542 2 0 0";
        assert_eq!(inode_of(line, 862), Some(41_542));
        assert_eq!(inode_of(line, 863), None);
        assert_eq!(inode_of("garbage", 862), None);
    }
}
