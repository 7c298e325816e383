//! One network device inside a namespace.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::Cidr;
use crate::namespace::{COMMAND_DEADLINE, Place};
use crate::proc::{ProcessError, try_wait_for};

/// A device by its name and place. It owns nothing and may be cloned freely.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    place: Place,
    name: String,
}

impl Device {
    /// The device called `name` in `place`, whether it exists yet or not.
    pub fn named(place: &Place, name: &str) -> Self {
        Self { place: place.clone(), name: name.to_owned() }
    }

    /// Where it is.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// What it is called there.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Switches it on.
    pub fn up(&self) -> Result<(), ProcessError> {
        self.set(["up"])
    }

    /// Switches it off.
    pub fn down(&self) -> Result<(), ProcessError> {
        self.set(["down"])
    }

    /// Adds an address that is usable at once.
    pub fn address(&self, address: Cidr) -> Result<(), ProcessError> {
        let text = address.to_string();
        let mut words = vec!["address", "add", &text, "dev", &self.name];
        if address.address().is_ipv6() {
            words.push("nodad");
        }
        self.place.ip(words).map(drop)
    }

    /// Tells it for good at which hardware address `neighbour` is, whether it is there or not.
    pub fn neighbour(&self, neighbour: IpAddr, mac: &str) -> Result<(), ProcessError> {
        let address = neighbour.to_string();
        let known = ["neighbour", "replace", &address, "lladdr", mac, "nud", "permanent"];
        self.place.ip(known.into_iter().chain(["dev", &self.name])).map(drop)
    }

    /// Sets the largest packet it carries.
    pub fn mtu(&self, bytes: u32) -> Result<(), ProcessError> {
        self.set(["mtu", &bytes.to_string()])
    }

    /// Makes it a port of `bridge`.
    pub fn enslave_to(&self, bridge: &Self) -> Result<(), ProcessError> {
        self.set(["master", &bridge.name])
    }

    /// Gives it another name; it must be down.
    pub fn rename(self, name: &str) -> Result<Self, ProcessError> {
        self.set(["name", name])?;
        Ok(Self { name: name.to_owned(), ..self })
    }

    /// Moves it into another namespace, where it is down and without addresses.
    pub fn move_to(self, place: &Place) -> Result<Self, ProcessError> {
        self.set(["netns", &place.path().to_string_lossy()])?;
        Ok(Self { place: place.clone(), ..self })
    }

    /// Removes it, with its other end if it is one of a pair.
    pub fn remove(self) -> Result<(), ProcessError> {
        self.place.ip(["link", "delete", "dev", &self.name]).map(drop)
    }

    /// Limits what it sends by a token bucket; what does not fit the queue is dropped there.
    pub fn shape(&self, shaping: Shaping) -> Result<(), ProcessError> {
        let Shaping { bits_per_second, burst_bytes, limit_bytes } = shaping;
        let rate = format!("{bits_per_second}bit");
        let (burst, limit) = (burst_bytes.to_string(), limit_bytes.to_string());
        let words = ["qdisc", "replace", "dev", &self.name, "root", "tbf"];
        let values = ["rate", &rate, "burst", &burst, "limit", &limit];
        let tc = self.place.command("tc").args(words).args(values);
        tc.succeed(COMMAND_DEADLINE).map(drop)
    }

    /// Its number inside its namespace.
    pub fn index(&self) -> Result<u32, ProcessError> {
        Ok(self.read()?.ifindex)
    }

    /// Its hardware address as text; a layer 3 device has none.
    pub fn mac(&self) -> Result<Option<String>, ProcessError> {
        Ok(self.read()?.address)
    }

    /// Its addresses.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, ProcessError> {
        Ok(self.read()?.addr_info.iter().filter_map(|a| a.local).collect())
    }

    /// Whether it exists.
    pub fn exists(&self) -> Result<bool, ProcessError> {
        let links = self.place.ip(["-j", "link", "show"])?.json::<Vec<Link>>()?;
        Ok(links.iter().any(|link| link.ifname == self.name))
    }

    /// Waits until it is up with a carrier and all of its addresses are usable.
    pub fn ready(&self, within: Duration) -> Result<(), ProcessError> {
        try_wait_for("usable link", within, || Ok(self.read()?.is_ready().then_some(())))
    }

    /// Waits until it is gone: the kernel removes the links of a deleted namespace a moment later.
    pub fn gone(&self, within: Duration) -> Result<(), ProcessError> {
        try_wait_for("removal of the link", within, || Ok((!self.exists()?).then_some(())))
    }

    pub(super) fn set<'a, const N: usize>(
        &'a self,
        words: [&'a str; N],
    ) -> Result<(), ProcessError> {
        let head = ["link", "set", "dev", self.name.as_str()];
        self.place.ip(head.into_iter().chain(words)).map(drop)
    }

    fn read(&self) -> Result<Link, ProcessError> {
        let answer = self.place.ip(["-j", "address", "show", "dev", &self.name])?;
        let links = answer.json::<Vec<Link>>()?;
        // Older iproute2 pads the list with empty objects.
        let found = links.into_iter().find(|link| link.ifname == self.name);
        found.ok_or_else(|| ProcessError::Answer {
            command: answer.command,
            source: serde::de::Error::custom("the device is not in it"),
        })
    }
}

/// A token bucket, as `tc-tbf(8)` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shaping {
    /// Sustained rate.
    pub bits_per_second: u64,
    /// Bytes that may go at once.
    pub burst_bytes: u32,
    /// Bytes that may wait; more are dropped.
    pub limit_bytes: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Link {
    ifindex: u32,
    ifname: String,
    flags: Vec<String>,
    operstate: String,
    address: Option<String>,
    addr_info: Vec<Address>,
}

impl Link {
    fn is_ready(&self) -> bool {
        // Loopback and tunnels never leave UNKNOWN.
        let running = matches!(self.operstate.as_str(), "UP" | "UNKNOWN");
        let carrier = self.flags.iter().any(|flag| flag == "LOWER_UP");
        running && carrier && self.addr_info.iter().all(|a| !a.tentative && !a.dadfailed)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    local: Option<IpAddr>,
    tentative: bool,
    dadfailed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(state: &str, flags: &str, address: &str) -> Link {
        let text = format!(
            r#"{{"ifindex":3,"ifname":"v1","flags":[{flags}],"operstate":"{state}",
                "addr_info":[{{"family":"inet6","local":"fd00::1"{address}}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn ready_means_carrier_and_usable_addresses() {
        assert!(link("UP", r#""UP","LOWER_UP""#, "").is_ready());
        assert!(link("UNKNOWN", r#""UP","LOWER_UP""#, "").is_ready());
        assert!(!link("DOWN", r#""UP","LOWER_UP""#, "").is_ready());
        assert!(!link("UP", r#""NO-CARRIER","UP""#, "").is_ready());
        assert!(!link("UP", r#""UP","LOWER_UP""#, r#","tentative":true"#).is_ready());
        assert!(!link("UP", r#""UP","LOWER_UP""#, r#","dadfailed":true"#).is_ready());
    }
}
