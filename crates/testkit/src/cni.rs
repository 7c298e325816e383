//! Debian's container network plugins, called as a container runtime calls them.
//!
//! A plugin gets its command and the namespace in the environment and the network on standard
//! input (CNI specification 1.0.0, sections 2 and 4). It runs inside a node's namespace, so that
//! nothing of the host is changed.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::namespace::{Owner, Place};
use crate::proc::{Finished, ProcessError};
use crate::topology::{Cidr, Device};

/// Why a plugin did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CniError {
    /// The plugin cannot be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// There is no room for the address store.
    #[error("no place for the addresses that are given out ({source}); check TMPDIR")]
    Store {
        /// What the kernel said.
        source: io::Error,
    },
    /// The plugin refused.
    #[error(
        "CNI plugin {plugin} refused {command} with code {code}: {message} {details}; below 100 the CNI specification explains the code"
    )]
    Refused {
        /// The plugin.
        plugin: String,
        /// ADD, DEL or CHECK.
        command: &'static str,
        /// Its error code, from the specification below 100, else its own.
        code: u32,
        /// What it said.
        message: String,
        /// What else it said.
        details: String,
    },
}

/// A network of one plugin on one node.
#[derive(Debug)]
pub struct Network {
    node: Place,
    plugin: String,
    config: Value,
    /// Addresses that were given out; goes with the network.
    _store: TempDir,
}

impl Network {
    /// The directory Debian puts the plugins in.
    pub const PLUGINS: &'static str = "/usr/lib/cni";

    /// Pods as ports of the bridge `bridge`, which has the gateway's addresses.
    pub fn bridge(node: &Place, bridge: &str, subnets: &[Cidr]) -> Result<Self, CniError> {
        let options = json!({ "bridge": bridge, "isGateway": true });
        Self::with_addresses(node, "bridge", options, subnets, true)
    }

    /// Pods on a routed veth pair each.
    pub fn ptp(node: &Place, subnets: &[Cidr]) -> Result<Self, CniError> {
        Self::with_addresses(node, "ptp", json!({}), subnets, true)
    }

    /// Pods without a host side, on top of `master`.
    pub fn macvlan(node: &Place, master: &Device, subnets: &[Cidr]) -> Result<Self, CniError> {
        let options = json!({ "master": master.name(), "mode": "bridge" });
        Self::with_addresses(node, "macvlan", options, subnets, false)
    }

    /// Moves `device` of the node into the pod.
    pub fn host_device(node: &Place, device: &Device, subnets: &[Cidr]) -> Result<Self, CniError> {
        let options = json!({ "device": device.name() });
        Self::with_addresses(node, "host-device", options, subnets, false)
    }

    /// Any plugin with the options of its own documentation; name and version are filled in.
    pub fn with_options(node: &Place, plugin: &str, options: Value) -> Result<Self, CniError> {
        Ok(Self::make(node, plugin, options, store()?))
    }

    /// Attaches a pod as its interface `interface`.
    pub fn add(&self, pod: &Place, interface: &str) -> Result<Attachment<'_>, CniError> {
        let number = CONTAINER.fetch_add(1, Ordering::Relaxed);
        let mut made = Attachment {
            network: self,
            pod: pod.clone(),
            interface: interface.to_owned(),
            container: format!("container-{number}"),
            attached: true,
            result: AddResult::default(),
        };
        // A plugin that fails half-way is undone by the guard, as a runtime does.
        let answer = made.call("ADD")?;
        made.result = answer.json()?;
        Ok(made)
    }

    fn with_addresses(
        node: &Place,
        plugin: &str,
        mut options: Value,
        subnets: &[Cidr],
        default_route: bool,
    ) -> Result<Self, CniError> {
        let store = store()?;
        let ranges: Vec<_> = subnets.iter().map(|s| json!([{ "subnet": s.to_string() }])).collect();
        let routes: Vec<_> = subnets.iter().map(|s| json!({ "dst": everything(*s) })).collect();
        let mut ipam = json!({ "type": "host-local", "dataDir": store.path(), "ranges": ranges });
        if let (true, Some(ipam)) = (default_route, ipam.as_object_mut()) {
            ipam.insert("routes".to_owned(), Value::from(routes));
        }
        if let (false, Some(options)) = (subnets.is_empty(), options.as_object_mut()) {
            options.insert("ipam".to_owned(), ipam);
        }
        Ok(Self::make(node, plugin, options, store))
    }

    fn make(node: &Place, plugin: &str, mut config: Value, store: TempDir) -> Self {
        if let Some(config) = config.as_object_mut() {
            config.insert("cniVersion".to_owned(), Value::from(VERSION));
            config.insert("name".to_owned(), Value::from(format!("{}-{plugin}", node.name())));
            config.insert("type".to_owned(), Value::from(plugin));
        }
        Self { node: node.clone(), plugin: plugin.to_owned(), config, _store: store }
    }
}

/// A pod's attachment to a network; dropping it detaches.
#[derive(Debug)]
pub struct Attachment<'a> {
    network: &'a Network,
    pod: Place,
    interface: String,
    container: String,
    attached: bool,
    result: AddResult,
}

impl Attachment<'_> {
    /// What the plugin made.
    pub const fn result(&self) -> &AddResult {
        &self.result
    }

    /// The pod's device.
    pub fn device(&self) -> Device {
        Device::named(&self.pod, &self.interface)
    }

    /// The pod's device's other end on the node, if it has one.
    ///
    /// Plugins list a bridge, if any, before the veth.
    pub fn host_device(&self) -> Option<Device> {
        let outside = self.result.interfaces.iter().rev().find(|i| i.sandbox.is_none());
        outside.map(|i| Device::named(&self.network.node, &i.name))
    }

    /// The pod's addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.result.addresses()
    }

    /// Detaches now and tells whether that worked.
    pub fn remove(mut self) -> Result<(), CniError> {
        self.detach()
    }

    fn detach(&mut self) -> Result<(), CniError> {
        self.attached = false;
        self.call("DEL").map(drop)
    }

    fn call(&self, command: &'static str) -> Result<Finished, CniError> {
        let Network { node, plugin, config, .. } = self.network;
        let program: PathBuf = Path::new(Network::PLUGINS).join(plugin);
        let call = node
            .command(program)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", &self.container)
            .env("CNI_NETNS", self.pod.path())
            .env("CNI_IFNAME", &self.interface)
            .env("CNI_PATH", Network::PLUGINS)
            .input(config.to_string());
        let finished = call.run(DEADLINE)?;
        if finished.status.success() {
            return Ok(finished);
        }
        let Refusal { code, msg: message, details } = finished.json()?;
        let plugin = plugin.clone();
        Err(CniError::Refused { plugin, command, code, message, details })
    }
}

impl Drop for Attachment<'_> {
    fn drop(&mut self) {
        if self.attached {
            // The namespaces go anyway; whoever wants to know detaches by `remove`.
            self.detach().ok();
        }
    }
}

/// The answer to ADD.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AddResult {
    /// Devices that were made, those of the node first.
    pub interfaces: Vec<Interface>,
    /// Addresses of the pod.
    pub ips: Vec<Address>,
}

impl AddResult {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ips.iter().filter_map(|ip| ip.address.parse::<Cidr>().ok()).map(Cidr::address)
    }
}

/// A device that a plugin made or moved.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    #[serde(default)]
    pub mac: String,
    /// The pod's namespace, absent for a device of the node.
    #[serde(default, deserialize_with = "absent_if_empty")]
    pub sandbox: Option<String>,
}

/// An address that was given out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Address {
    /// With its prefix, as in `10.1.0.5/24`.
    pub address: String,
    /// Where the pod sends what is not in its network.
    pub gateway: Option<IpAddr>,
    /// Position of its device in the list of interfaces.
    pub interface: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: u32,
    msg: String,
    #[serde(default)]
    details: String,
}

fn absent_if_empty<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.filter(|text| !text.is_empty()))
}

fn store() -> Result<TempDir, CniError> {
    Owner::current().and_then(Owner::scratch).map_err(|source| CniError::Store { source })
}

const fn everything(like: Cidr) -> &'static str {
    match like.address() {
        IpAddr::V4(_) => "0.0.0.0/0",
        IpAddr::V6(_) => "::/0",
    }
}

static CONTAINER: AtomicU64 = AtomicU64::new(0);

const VERSION: &str = "1.0.0";
const DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"cniVersion":"1.0.0",
        "interfaces":[{"name":"cni0","mac":"2a:00:00:00:00:01"},
                      {"name":"veth1","mac":"2a:00:00:00:00:02","sandbox":""},
                      {"name":"eth0","mac":"2a:00:00:00:00:03","sandbox":"/run/netns/pod"}],
        "ips":[{"interface":2,"address":"10.1.0.5/24","gateway":"10.1.0.1"},
               {"interface":2,"address":"fd00::5/64"}],"dns":{}}"#;

    #[test]
    fn an_answer_tells_devices_of_node_and_pod_apart() {
        let result: AddResult = serde_json::from_str(ANSWER).unwrap();
        let sandboxes: Vec<_> = result.interfaces.iter().map(|i| i.sandbox.as_deref()).collect();
        assert_eq!(sandboxes, [None, None, Some("/run/netns/pod")]);
        let addresses: Vec<_> = result.addresses().map(|a| a.to_string()).collect();
        assert_eq!(addresses, ["10.1.0.5", "fd00::5"]);
    }

    #[test]
    fn a_network_names_its_plugin_and_gives_out_its_subnets() {
        let node = Place::named("node");
        let subnet = "10.1.0.0/24".parse().unwrap();
        let network = Network::bridge(&node, "cni0", &[subnet]).unwrap();
        assert_eq!(network.config["type"], "bridge");
        assert_eq!(network.config["ipam"]["ranges"][0][0]["subnet"], "10.1.0.0/24");
        assert_eq!(network.config["ipam"]["routes"][0]["dst"], "0.0.0.0/0");
    }
}
