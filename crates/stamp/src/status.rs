//! What a running instance tells by its API, read again to be shown.
//!
//! The documents come from outside: what is missing or has another form is left out, and
//! nothing is believed to be there.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The documents of one instance, as they came.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    schema: &'static str,
    clock: Option<Value>,
    targets: Vec<Value>,
    reflector: Option<Value>,
}

/// Why there is nothing to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// A name that no target has.
    #[error("no target is called {name:?}; there are: {}", known.join(", "))]
    NoTarget {
        /// The name.
        name: String,
        /// Those that targets have.
        known: Vec<String>,
    },
}

/// What is shown of a target.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Target {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Its UDP port.
    pub port: u16,
    /// Whether it answers; absent before the first verdict.
    pub up: Option<bool>,
    /// Why it does not.
    pub cause: Option<String>,
    /// What its replies say of its clock.
    pub peer: Option<Peer>,
    /// What became of the packets.
    pub packets: Packets,
    /// Round trips.
    pub roundtrip: Option<Delays>,
    /// Where its clock stands.
    pub offset: Option<Offset>,
}

/// What a target's replies say of its clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// The scale of its times, or `suspect`.
    pub timescale: String,
}

/// What became of packets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Packets {
    /// Requests.
    pub sent: u64,
    /// Replies in time.
    pub received: u64,
    /// Requests without one.
    pub lost: u64,
}

/// A distribution, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Delays {
    /// Half of them are at most this.
    pub p50: i64,
    /// All but a hundredth are.
    pub p99: i64,
}

/// Another clock against that of the host that measures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Offset {
    /// By how much it is ahead.
    pub offset_ns: i64,
    /// How wrong that can be.
    pub bound_ns: u64,
}

/// What is shown of the reflector.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Reflector {
    /// Requests that came.
    pub requests: u64,
    /// Replies that went.
    pub replies: u64,
    /// Packets that were not answered, by reason.
    pub dropped: std::collections::BTreeMap<String, u64>,
    /// Sessions that are known.
    pub sessions: Vec<serde::de::IgnoredAny>,
}

/// What is shown of the host's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Clock {
    /// Whether something keeps it.
    pub synchronized: bool,
    /// What does.
    pub source: String,
    /// Its error.
    pub error_ns: Option<u64>,
    /// Seconds that TAI is ahead of UTC.
    pub tai_utc_s: Option<i32>,
}

impl Status {
    /// The documents of the paths `clock`, the summary and `reflector`, as far as there are any.
    pub fn new(clock: Option<Value>, summary: Option<Value>, reflector: Option<Value>) -> Self {
        let targets = summary.and_then(|mut summary| Some(summary.get_mut("targets")?.take()));
        let targets = match targets {
            Some(Value::Array(targets)) => targets,
            _ => Vec::new(),
        };
        Self { schema: "fathom.stamp.status/1", clock, targets, reflector }
    }

    /// The same with one target and nothing else.
    ///
    /// # Errors
    ///
    /// When no target has that name.
    pub fn only(self, name: &str) -> Result<Self, StatusError> {
        let named = |target: &&Value| target["name"] == name;
        match self.targets.iter().find(named).cloned() {
            Some(target) => Ok(Self { targets: vec![target], reflector: None, ..self }),
            None => {
                let known = self.targets().into_iter().map(|target| target.name).collect();
                Err(StatusError::NoTarget { name: name.to_owned(), known })
            }
        }
    }

    /// The targets.
    pub fn targets(&self) -> Vec<Target> {
        self.targets.iter().map(read).collect()
    }

    /// The reflector, if that role is played.
    pub fn reflector(&self) -> Option<Reflector> {
        self.reflector.as_ref().map(read)
    }

    /// The host's clock, if it was told of.
    pub fn clock(&self) -> Option<Clock> {
        self.clock.as_ref().map(read)
    }
}

impl Target {
    /// What to do about what is wrong, if anything is.
    pub fn remedy(&self) -> Option<&'static str> {
        if self.peer.as_ref().is_some_and(|peer| peer.timescale == "suspect") {
            return Some(SUSPECT);
        }
        match (self.up, self.cause.as_deref()) {
            (Some(false), Some("icmp_unreachable")) => Some(CLOSED),
            (Some(false), Some("auth_failure")) => Some(KEYS),
            (Some(false), Some("no_route")) => {
                Some("there is no route to it; look at `ip route get`")
            }
            (Some(false), Some("device_down")) => {
                Some("switch the device on: `ip link set DEVICE up`")
            }
            (Some(false), Some("send_error")) => Some("packets can't be sent; the log says why"),
            (Some(false), _) => Some(SILENT),
            _ => None,
        }
    }
}

/// What can be read of a value; the rest is as if it were not there.
fn read<T: Default + for<'a> Deserialize<'a>>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}

const SUSPECT: &str = "its clock is a whole number of seconds ahead, as TAI is of UTC: measure with --peer-timescale tai (peer_timescale: tai), or have the peer write UTC";
const CLOSED: &str =
    "nothing answers on its port; start the reflector there, or correct the destination port";
const KEYS: &str = "what comes is not signed with our key; compare the key files of both ends";
const SILENT: &str = "no reply comes; check that the reflector runs and allows this host, and that no firewall is between";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Status, StatusError};

    fn status() -> Status {
        let suspect = json!({"name": "a", "up": true, "peer": {"timescale": "suspect"}});
        let down = json!({"name": "b", "up": false, "cause": "auth_failure",
            "packets": {"sent": 3, "lost": 3}, "offset": {"offset_ns": -5, "bound_ns": 2}});
        let summary = json!({"schema": "x", "targets": [suspect, down]});
        Status::new(
            Some(json!({"synchronized": true})),
            Some(summary),
            Some(json!({"requests": 4})),
        )
    }

    #[test]
    fn what_is_there_is_read_and_what_is_not_is_absent() {
        let status = status();
        let [a, b] = <[_; 2]>::try_from(status.targets()).unwrap();
        assert_eq!((a.up, a.roundtrip, a.packets.sent), (Some(true), None, 0));
        assert_eq!((b.packets.lost, b.offset.unwrap().offset_ns), (3, -5));
        assert_eq!(status.reflector().unwrap().requests, 4);
        assert!(status.clock().unwrap().synchronized);
    }

    #[test]
    fn what_has_another_form_is_as_if_it_were_not_there() {
        let odd = Status::new(Some(json!([1])), Some(json!({"targets": [7, {"port": -1}]})), None);
        assert_eq!(odd.targets().len(), 2);
        assert_eq!(odd.targets()[0].name, "");
        assert_eq!(Status::new(None, Some(json!("x")), None).targets(), []);
    }

    #[test]
    fn a_suspect_clock_and_a_silent_target_have_their_remedies() {
        let remedies: Vec<_> =
            status().targets().iter().map(|target| target.remedy().unwrap()).collect();
        assert!(remedies[0].contains("--peer-timescale tai"), "{remedies:?}");
        assert!(remedies[1].contains("key files"), "{remedies:?}");
    }

    #[test]
    fn one_target_is_chosen_by_its_name() {
        let one = status().only("b").unwrap();
        assert_eq!(one.targets().len(), 1);
        assert_eq!(one.reflector(), None);
        let known = vec!["a".to_owned(), "b".to_owned()];
        let error = StatusError::NoTarget { name: "c".into(), known };
        assert_eq!(status().only("c"), Err(error));
    }
}
