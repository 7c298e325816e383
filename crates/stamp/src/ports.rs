//! The sockets of a system: each port once, whoever uses it.

use crate::error::{Error, Problem};
use crate::port;
use crate::service::Sending;
use crate::socket::Socket;

/// Sockets that are bound already.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    bound: Vec<Bound>,
    pub(crate) sockets: Vec<Socket>,
}

#[derive(Debug)]
struct Bound {
    port: u16,
    device: Option<String>,
    ttl: u8,
    sockets: Vec<usize>,
}

impl Ports {
    /// The sockets of a port: those that are bound to it, or new ones. Port 0 is always new.
    pub(crate) fn bind(
        &mut self,
        port: u16,
        device: Option<&str>,
        ttl: u8,
    ) -> Result<Vec<usize>, Error> {
        // Two sockets of one port may be bound to two devices, but not one of them to all.
        let overlaps = |bound: &&Bound| {
            let apart = bound.device.is_some() && device.is_some();
            bound.port == port && (bound.device.as_deref() == device || !apart)
        };
        if let Some(bound) = self.bound.iter().find(overlaps) {
            let alike = bound.device.as_deref() == device && bound.ttl == ttl;
            return alike
                .then(|| bound.sockets.clone())
                .ok_or_else(|| Error::Settings(vec![Problem::Shared { port }]));
        }
        let new = port::bind(port, device, ttl)?;
        let sockets: Vec<usize> = (self.sockets.len()..self.sockets.len() + new.len()).collect();
        self.sockets.extend(new);
        if port != 0 {
            let device = device.map(str::to_owned);
            self.bound.push(Bound { port, device, ttl, sockets: sockets.clone() });
        }
        Ok(sockets)
    }

    /// Has the sockets told when each packet left, but for those whose packets are timed
    /// by programs in the kernel: that would cost a call for each, and tell less.
    pub(crate) fn ask_for_times(&self, senders: &[Sending]) -> Result<(), Error> {
        let is_timed =
            |at: usize| senders.iter().any(|sending| sending.kernel.is_some() && sending.uses(at));
        let mut others = self.sockets.iter().enumerate().filter(|(at, _)| !is_timed(*at));
        others
            .try_for_each(|(_, socket)| socket.ask_for_sent_times())
            .map_err(|source| Error::Socket { action: "asking for the times of packets", source })
    }

    /// The port of a socket.
    pub(crate) fn port(&self, sockets: &[usize]) -> u16 {
        sockets.first().and_then(|&at| self.sockets.get(at)).map_or(0, Socket::port)
    }
}

#[cfg(test)]
mod tests {
    use super::Ports;
    use crate::error::{Error, Problem};

    #[test]
    fn a_port_is_bound_once_and_shared() {
        let mut ports = Ports::default();
        let sockets = ports.bind(0, None, 255).unwrap();
        let chosen = ports.port(&sockets);
        drop(std::mem::take(&mut ports.sockets));
        let mut ports = Ports::default();
        let first = ports.bind(chosen, None, 255).unwrap();
        assert_eq!(ports.bind(chosen, None, 255).unwrap(), first);
        assert_ne!(ports.bind(0, None, 255).unwrap(), first);
        let error = ports.bind(chosen, Some("lo"), 255).unwrap_err();
        assert!(
            matches!(&error, Error::Settings(problems) if *problems == [Problem::Shared { port: chosen }]),
            "{error}"
        );
    }
}
