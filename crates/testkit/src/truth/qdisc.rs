//! What queueing disciplines sent and dropped, by `tc -j -s qdisc show`.

use serde::Deserialize;

use super::{Amount, TruthError};
use crate::namespace::COMMAND_DEADLINE;
use crate::topology::Device;

/// One queueing discipline of a device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Qdisc {
    /// `tbf`, `noqueue`, `clsact`, …
    pub kind: String,
    /// Its number, such as `8001:`.
    pub handle: String,
    /// Whether it is the root of the device's egress.
    #[serde(default)]
    pub root: bool,
    /// What it handed on.
    #[serde(flatten)]
    pub sent: Amount,
    /// Packets it dropped.
    pub drops: u64,
    /// Times it had to wait.
    pub overlimits: u64,
    /// Bytes that wait in it.
    pub backlog: u64,
    /// Packets that wait in it.
    pub qlen: u64,
}

impl Device {
    /// Its queueing disciplines.
    pub fn qdiscs(&self) -> Result<Vec<Qdisc>, TruthError> {
        let tc = self.place().command("tc");
        let tc = tc.args(["-j", "-s", "qdisc", "show", "dev", self.name()]);
        Ok(tc.succeed(COMMAND_DEADLINE)?.json()?)
    }

    /// Packets that its queueing disciplines dropped.
    pub fn qdisc_drops(&self) -> Result<u64, TruthError> {
        Ok(self.qdiscs()?.iter().map(|qdisc| qdisc.drops).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_bucket_is_read_with_its_drops() {
        let answer = r#"[{"kind":"tbf","handle":"8001:","root":true,"refcnt":3,
            "options":{"rate":125000,"burst":32768,"lat":262144},"bytes":42,"packets":1,
            "drops":7,"overlimits":9,"requeues":0,"backlog":3,"qlen":2}]"#;
        let [qdisc] =
            <[Qdisc; 1]>::try_from(serde_json::from_str::<Vec<Qdisc>>(answer).unwrap()).unwrap();
        assert_eq!((qdisc.kind.as_str(), qdisc.drops, qdisc.root), ("tbf", 7, true));
        assert_eq!(qdisc.sent, Amount::new(1, 42));
    }
}
