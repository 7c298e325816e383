//! What `fathom stamp` would find here.
//!
//! It measures without the kernel programs and on other ports as well, so that nothing here is
//! ever missing, only degraded.

use std::io::ErrorKind;
use std::net::{Ipv6Addr, UdpSocket};
use std::path::Path;

use net_sys::{host, tcx};
use stamp_bpf::{Knobs, Program, Sizes, Tables};
use stamp_proto::reflector::Policy;
use stamp_proto::timestamp::Format;

use super::finding::Finding;

/// Whether test packets can be answered on a port, and who has it if not.
pub(super) fn port(root: &Path, port: u16) -> Finding {
    const CHECK: &str = "stamp-port";
    let lost = "test packets to this port are not answered by fathom";
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Ok(_) => Finding::ok(CHECK, format!("UDP {port} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let holder =
                stamp::holder(&root.join("proc"), port).unwrap_or_else(|| "somebody".to_owned());
            Finding::degraded(CHECK, format!("UDP {port} belongs to {holder}"), lost)
                .with_remedy("end it unless it is fathom, or answer on another port with -p")
        }
        Err(error) => Finding::degraded(CHECK, format!("UDP {port}: {error}"), lost)
            .with_remedy("grant NET_BIND_SERVICE, or use a port above 1023 with -p and -s 0"),
    }
}

/// Which devices `auto` means.
pub(super) fn interfaces() -> Finding {
    match stamp::outward() {
        Ok(names) => judge_interfaces(&names),
        Err(error) => Finding::degraded(INTERFACE, error.to_string(), NO_DEVICE),
    }
}

fn judge_interfaces(names: &[String]) -> Finding {
    match names {
        [] => Finding::degraded(INTERFACE, "auto means no device here", NO_DEVICE)
            .with_remedy("name the device, or give one of the node's an address"),
        names => {
            let names: Vec<_> = names.iter().map(|name| name.escape_debug().to_string()).collect();
            Finding::ok(INTERFACE, format!("auto means {}", names.join(", ")))
        }
    }
}

/// Whether the kernel takes the times, and how its programs are attached.
pub(super) fn backend() -> Finding {
    const CHECK: &str = "stamp-backend";
    let sizes = Sizes { sessions: 16, sources: 16, slow_requests: 16 };
    let knobs = Knobs::new(&Policy::default(), Format::Ntp);
    let loaded = Tables::create(sizes).and_then(|tables| Program::load(&tables, &knobs));
    match (loaded, tcx::supported()) {
        (Ok(_), Ok(true)) => Finding::ok(CHECK, "programs in the kernel, by tcx"),
        (Ok(_), _) => {
            let lost = "programs of a killed process stay until its lease is over";
            Finding::degraded(CHECK, "programs in the kernel, by clsact", lost)
        }
        (Err(error), _) => {
            let found = format!("sockets: {error}");
            Finding::degraded(CHECK, found, SOCKETS).with_remedy(PROGRAMS)
        }
    }
}

/// Whether PTP times can be told from UTC.
pub(super) fn tai_offset() -> Finding {
    const CHECK: &str = "tai-offset";
    let lost = "PTP times are written and read as UTC; --peer-timescale tai assumes 37 s";
    match host::clock_state().map(|state| state.tai_offset_seconds) {
        Ok(0) => Finding::degraded(CHECK, "the kernel does not know TAI", lost)
            .with_remedy("let chrony tell it (leapsectz right/UTC), or ptp4l with phc2sys"),
        Ok(seconds) => Finding::ok(CHECK, format!("TAI is {seconds} s ahead of UTC")),
        Err(error) => Finding::degraded(CHECK, error.to_string(), lost),
    }
}

const INTERFACE: &str = "stamp-interface";
const NO_DEVICE: &str = "fathom stamp answers nobody unless a device is named";
const SOCKETS: &str = "times are taken by sockets, with some ten to hundreds of microseconds of error; each reply costs a system call";
const PROGRAMS: &str = "run Linux 5.10 or newer with BTF, and grant BPF and NET_ADMIN";

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::path::Path;

    use super::{judge_interfaces, port};
    use crate::doctor::finding::State;

    #[test]
    fn a_port_is_free_or_has_an_owner_who_is_named() {
        let held = UdpSocket::bind("[::]:0").unwrap();
        let number = held.local_addr().unwrap().port();
        let taken = port(Path::new("/"), number);
        assert_eq!(taken.state, State::Degraded, "{taken:?}");
        let own = format!("(process {})", std::process::id());
        assert!(taken.found.contains(&own), "{taken:?}");
        assert!(taken.lost.is_some() && taken.remedy.is_some());
        assert!(port(Path::new("/nowhere"), number).found.contains("somebody"));
        drop(held);
        assert_eq!(port(Path::new("/"), number).state, State::Ok);
    }

    #[test]
    fn the_devices_that_auto_means_are_named() {
        assert_eq!(judge_interfaces(&[]).state, State::Degraded);
        assert_eq!(judge_interfaces(&["eth0".into()]).found, "auto means eth0");
    }
}
