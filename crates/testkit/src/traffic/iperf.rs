//! The real iperf3 between two namespaces.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::TrafficError;
use crate::namespace::Place;
use crate::proc::{Command, Finished, Process};

/// What iperf3 shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iperf {
    client: Place,
    server: Place,
    target: IpAddr,
    udp: Option<u64>,
    streams: u32,
    amount: Amount,
    payload: Option<u32>,
    port: u16,
    reverse: bool,
}

impl Iperf {
    /// One TCP stream for a second from `client` to `target` in `server`.
    pub fn new(client: &Place, server: &Place, target: IpAddr) -> Self {
        Self {
            client: client.clone(),
            server: server.clone(),
            target,
            udp: None,
            streams: 1,
            amount: Amount::Seconds(1),
            payload: None,
            port: 5201,
            reverse: false,
        }
    }

    /// UDP at a rate for each stream, 0 for as fast as possible.
    #[must_use]
    pub const fn udp(mut self, bits_per_second: u64) -> Self {
        self.udp = Some(bits_per_second);
        self
    }

    /// Parallel streams.
    #[must_use]
    pub const fn streams(mut self, count: u32) -> Self {
        self.streams = count;
        self
    }

    /// Runs for so many seconds.
    #[must_use]
    pub const fn seconds(mut self, seconds: u32) -> Self {
        self.amount = Amount::Seconds(seconds);
        self
    }

    /// Ends after so many bytes of all streams.
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.amount = Amount::Bytes(bytes);
        self
    }

    /// Bytes that one write hands to the kernel; of UDP, the payload of a datagram.
    #[must_use]
    pub const fn payload(mut self, bytes: u32) -> Self {
        self.payload = Some(bytes);
        self
    }

    /// Another port than 5201, for several at a time on one server.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The server sends, the client receives.
    #[must_use]
    pub const fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Runs to the end.
    pub fn run(&self) -> Result<IperfReport, TrafficError> {
        self.start()?.finish()
    }

    /// Starts server and client.
    pub fn start(&self) -> Result<RunningIperf, TrafficError> {
        let mut server = self.listen().spawn()?;
        server.wait_for_stdout("Server listening", READY)?;
        let client = self.send().spawn()?;
        let within = match self.amount {
            Amount::Seconds(seconds) => Duration::from_secs(seconds.into()) + SLACK,
            Amount::Bytes(_) => SLACK,
        };
        Ok(RunningIperf { client, server, within })
    }

    fn listen(&self) -> Command {
        let (target, port) = (self.target.to_string(), self.port.to_string());
        // Flushed, or the line that tells of readiness would stay in a buffer.
        self.server.command("iperf3").args(["-s", "-1", "--forceflush", "-B", &target, "-p", &port])
    }

    fn send(&self) -> Command {
        let (target, port) = (self.target.to_string(), self.port.to_string());
        let streams = self.streams.to_string();
        let mut client =
            self.client.command("iperf3").args(["-J", "-c", &target, "-p", &port, "-P", &streams]);
        client = match self.amount {
            Amount::Seconds(seconds) => client.arg("-t").arg(seconds.to_string()),
            Amount::Bytes(bytes) => client.arg("-n").arg(bytes.to_string()),
        };
        if let Some(rate) = self.udp {
            client = client.args(["-u", "-b"]).arg(rate.to_string());
        }
        if let Some(payload) = self.payload {
            client = client.arg("-l").arg(payload.to_string());
        }
        if self.reverse {
            client = client.arg("-R");
        }
        client
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Seconds(u32),
    Bytes(u64),
}

/// A running pair; dropping it kills both.
#[derive(Debug)]
pub struct RunningIperf {
    client: Process,
    server: Process,
    within: Duration,
}

impl RunningIperf {
    /// Waits for the end and reads the client's report.
    pub fn finish(self) -> Result<IperfReport, TrafficError> {
        let report = read(&self.client.finish(self.within)?)?;
        self.server.finish(SLACK)?;
        Ok(report)
    }
}

/// What iperf3 tells at its end: the payload of its test streams, without its control connection.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct IperfReport {
    /// The sender's account.
    pub sent: IperfSum,
    /// The receiver's account. With TCP it misses what was still on its way when the sender had
    /// its amount; the exact total of a stream is on the wire.
    pub received: IperfSum,
}

/// One side's account over all streams.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct IperfSum {
    /// Payload bytes.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Payload bits a second.
    pub bits_per_second: f64,
    /// TCP segments sent again, known to a TCP sender.
    pub retransmits: Option<u64>,
    /// Datagrams, with UDP.
    pub packets: Option<u64>,
    /// Datagrams that did not arrive, with UDP.
    pub lost_packets: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Document {
    error: Option<String>,
    #[serde(default)]
    end: End,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct End {
    sum_sent: Option<IperfSum>,
    sum_received: Option<IperfSum>,
}

fn read(finished: &Finished) -> Result<IperfReport, TrafficError> {
    let document: Document = finished.json()?;
    match (document.error, document.end.sum_sent, document.end.sum_received) {
        (None, Some(sent), Some(received)) => Ok(IperfReport { sent, received }),
        (error, ..) => Err(TrafficError::Process(crate::proc::ProcessError::Failed {
            command: finished.command.clone(),
            status: finished.status,
            stderr: error.unwrap_or_else(|| finished.stderr.clone()),
        })),
    }
}

const READY: Duration = Duration::from_secs(20);
const SLACK: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(json: &str) -> Finished {
        Command::new("printf").args(["%s", json]).succeed(READY).unwrap()
    }

    #[test]
    fn both_accounts_are_read() {
        let json = r#"{"start":{},"end":{
            "sum_sent":{"bytes":10,"seconds":1.5,"bits_per_second":53.3,"retransmits":2},
            "sum_received":{"bytes":9,"seconds":1.5,"bits_per_second":48,"packets":3,
                            "lost_packets":1}}}"#;
        let report = read(&finished(json)).unwrap();
        assert_eq!((report.sent.bytes, report.sent.retransmits), (10, Some(2)));
        assert_eq!((report.received.packets, report.received.lost_packets), (Some(3), Some(1)));
        assert_eq!(report.received.retransmits, None);
    }

    #[test]
    fn its_own_complaint_is_handed_on() {
        let json = r#"{"start":{},"end":{},"error":"unable to connect to server"}"#;
        let error = read(&finished(json)).unwrap_err();
        assert!(error.to_string().contains("unable to connect to server"), "{error}");
    }
}
