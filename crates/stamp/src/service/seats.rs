//! Sessions of ours in the kernel: each where its target is reached by now.

use std::net::SocketAddr;

use net_sys::Route;
use stamp_bpf::Peer;
use stamp_proto::sender::Settings;

use super::Sending;
use super::sending::key;
use crate::error::Error;
use crate::kernel::Kernel;
use crate::target::Target;

impl Sending {
    /// Gives each target that is reached otherwise than before its session in the kernel.
    pub(crate) fn take_seats(&mut self, own: usize, kernel: &mut Kernel) -> Result<(), Error> {
        let mut route = Route::open()?;
        let port = self.plan.source_port;
        let device = match self.plan.device.as_str() {
            "auto" => None,
            name => Some(route.link(name, None)?.ifindex),
        };
        for (at, target) in self.targets.iter_mut().enumerate() {
            let Some((ifindex, local)) = way(&mut route, target, device, port) else { continue };
            let remote = key(target.address);
            kernel.reach(ifindex)?;
            let settings = target.sender.settings();
            let peer = peer(settings, local, remote);
            let was_new = std::mem::take(&mut target.is_new);
            if !was_new && target.seat.as_ref().is_some_and(|seat| seat.is_of(&peer)) {
                continue;
            }
            if let Some(seat) = target.seat.take() {
                kernel.leave(&seat)?;
            }
            target.seat = Some(kernel.seat((own, at), &peer, settings.keys.as_ref())?);
        }
        Ok(())
    }

    /// Looks whether the device that was named can be sent by.
    pub(super) fn look_at_device(&mut self) -> Result<(), Error> {
        if self.plan.device != "auto" {
            let link = Route::open()?.link(self.plan.device.as_str(), None);
            self.is_down = !link.is_ok_and(|link| link.up);
        }
        Ok(())
    }

    /// Whether each target has its session in the kernel.
    pub(super) fn is_seated(&self) -> bool {
        self.targets.iter().all(|target| target.seat.is_some() && !target.is_new)
    }

    /// Leaves the times of all targets to the sockets.
    pub(crate) fn leave_seats(&mut self) {
        self.kernel = None;
        self.lane = None;
        self.targets.iter_mut().for_each(|target| target.seat = None);
    }
}

/// By which device packets to a target leave, and with which address.
fn way(
    route: &mut Route,
    target: &Target,
    device: Option<u32>,
    port: u16,
) -> Option<(u32, SocketAddr)> {
    let address = target.address;
    let way = route.to(address.ip(), None, device.or_else(|| scope(address)));
    let way = way.inspect_err(|error| {
        tracing::debug!(event = "target.unreachable", name = target.name, %error, "There is no way to a target");
    });
    let way = way.ok()?;
    Some((way.ifindex, SocketAddr::new(way.source?, port)))
}

fn peer(settings: &Settings, local: SocketAddr, remote: SocketAddr) -> Peer {
    Peer {
        local,
        remote,
        ssid: settings.ssid,
        mode: settings.mode(),
        key: 0,
        format: settings.format,
        min_ttl: settings.min_ttl,
        zero_ssid_is_fatal: settings.zero_ssid_is_fatal,
        window: settings.window as u32,
    }
}

const fn scope(address: SocketAddr) -> Option<u32> {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(v6.scope_id()),
        _ => None,
    }
}
