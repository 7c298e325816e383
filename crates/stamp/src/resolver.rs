//! Names of targets, looked up again and again on a thread of their own: a resolver may
//! take its time.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::error::Error;

/// A target that was named, not addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Index of the sender.
    pub(crate) sender: usize,
    /// Index of the target there.
    pub(crate) target: usize,
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// The thread. It ends with its owner, and nobody waits for it.
#[derive(Debug)]
pub(crate) struct Resolver {
    found: Receiver<(Named, Vec<IpAddr>)>,
    /// Nothing is ever said; the thread sees when it is gone.
    _alive: Sender<()>,
}

impl Resolver {
    /// Looks these names up every minute.
    pub(crate) fn start(names: Vec<Named>) -> Result<Option<Self>, Error> {
        if names.is_empty() {
            return Ok(None);
        }
        let (tell, found) = channel();
        let (alive, owner) = channel::<()>();
        let look = move || {
            while owner.recv_timeout(EACH) == Err(RecvTimeoutError::Timeout) {
                for named in &names {
                    let addresses = look_up(named);
                    if !addresses.is_empty() && tell.send((named.clone(), addresses)).is_err() {
                        return;
                    }
                }
            }
        };
        thread::Builder::new().name("stamp-names".into()).spawn(look).map_err(Error::thread)?;
        Ok(Some(Self { found, _alive: alive }))
    }

    /// What was found since the last time.
    pub(crate) fn found(&self) -> impl Iterator<Item = (Named, Vec<IpAddr>)> {
        self.found.try_iter()
    }
}

/// A name that is not found keeps the address that it had.
fn look_up(named: &Named) -> Vec<IpAddr> {
    let found = (named.name.as_str(), named.port).to_socket_addrs();
    found.map(|addresses| addresses.map(|address| address.ip()).collect()).unwrap_or_default()
}

/// The address to go on with: the one there is for as long as the name has it, since
/// resolvers answer in any order.
pub(crate) fn choose(present: SocketAddr, found: &[IpAddr]) -> Option<SocketAddr> {
    let is_kept = found.contains(&present.ip());
    let next = found.first().filter(|_| !is_kept);
    next.map(|&ip| SocketAddr::new(ip, present.port()))
}

const EACH: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn an_address_is_kept_for_as_long_as_the_name_has_it() {
        let present = "10.0.0.1:862".parse().unwrap();
        let found = |list: &[&str]| {
            let list: Vec<_> = list.iter().map(|ip| ip.parse().unwrap()).collect();
            choose(present, &list).map(|address| address.to_string())
        };
        assert_eq!(found(&["10.0.0.2", "10.0.0.1"]), None);
        assert_eq!(found(&["10.0.0.3", "10.0.0.2"]).as_deref(), Some("10.0.0.3:862"));
        assert_eq!(found(&[]), None);
    }
}
