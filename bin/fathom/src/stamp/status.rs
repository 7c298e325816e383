//! `fathom stamp status`: what a running instance knows, from its API.

use std::io::{self, Write};

use anyhow::anyhow;
use stamp::settings::Format;
use stamp::status::{Reflector, Status, Target};

use crate::args::StampStatus;
use crate::failure::Failure;
use crate::fetch::Server;
use crate::table::{Align, Table};
use crate::{output, runtime};

/// Asks, and prints the answer.
pub(super) fn run(asked: &StampStatus) -> Result<(), Failure> {
    let server: Server = asked.url.parse().map_err(Failure::usage)?;
    let status = runtime::start(1)?.block_on(ask(&server))?;
    let status = match &asked.target {
        Some(name) => status.only(name).map_err(Failure::usage)?,
        None => status,
    };
    match asked.format {
        Format::Json => output::print_json(&status),
        Format::Table => output::print(|out| write(&status, out)),
    }
}

async fn ask(server: &Server) -> Result<Status, Failure> {
    let document = async |path| server.document(path).await.map_err(Failure::unavailable);
    let clock = document("/api/v1/stamp/clock").await?;
    let summary = document("/api/v1/stamp").await?;
    let reflector = document("/api/v1/stamp/reflector").await?;
    if clock.is_none() {
        return Err(Failure::unavailable(anyhow!(
            "{server} answers, but does not measure by STAMP; name another instance with --url"
        )));
    }
    Ok(Status::new(clock, summary, reflector))
}

fn write(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    let targets = status.targets();
    if !targets.is_empty() {
        table(&targets).write(out)?;
    }
    for target in &targets {
        if let Some(remedy) = target.remedy() {
            writeln!(out, "{}: {remedy}", target.name.escape_debug())?;
        }
    }
    if let Some(reflector) = status.reflector() {
        write_reflector(&reflector, out)?;
    }
    let Some(clock) = status.clock() else { return Ok(()) };
    let state = if clock.synchronized { "synchronised" } else { "not synchronised" };
    let error = clock.error_ns.map_or_else(|| "unknown".to_owned(), |ns| milliseconds(ns as f64));
    writeln!(
        out,
        "clock of that host: {state}, source {}, error {error}",
        clock.source.escape_debug()
    )
}

fn table(targets: &[Target]) -> Table<8> {
    let mut table = Table::new([
        ("TARGET", Align::Left),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("SENT", Align::Right),
        ("LOST", Align::Right),
        ("RTT P50", Align::Right),
        ("RTT P99", Align::Right),
        ("OFFSET", Align::Right),
    ]);
    for target in targets {
        let Target { name, address, port, packets, roundtrip, offset, .. } = target;
        let rtt = |pick: fn(&stamp::status::Delays) -> i64| {
            roundtrip.as_ref().map_or_else(unknown, |delays| milliseconds(pick(delays) as f64))
        };
        table.row([
            name.clone(),
            format!("{address} port {port}"),
            state(target),
            packets.sent.to_string(),
            format!("{} ({:.2} %)", packets.lost, share(packets.lost, packets.sent)),
            rtt(|delays| delays.p50),
            rtt(|delays| delays.p99),
            offset.as_ref().map_or_else(unknown, |offset| {
                let bound = milliseconds(offset.bound_ns as f64);
                format!("{} ± {bound}", milliseconds(offset.offset_ns as f64))
            }),
        ]);
    }
    table
}

fn write_reflector(reflector: &Reflector, out: &mut dyn Write) -> io::Result<()> {
    let Reflector { requests, replies, dropped, sessions } = reflector;
    let open = sessions.len();
    writeln!(out, "reflector: {requests} requests, {replies} replies, {open} sessions")?;
    for (reason, amount) in dropped.iter().filter(|(_, amount)| **amount > 0) {
        writeln!(out, "  dropped {}: {amount}", reason.escape_debug())?;
    }
    Ok(())
}

fn state(target: &Target) -> String {
    match (target.up, &target.cause) {
        (Some(true), _) => "up".to_owned(),
        (Some(false), Some(cause)) => format!("down: {cause}"),
        (Some(false), None) => "down".to_owned(),
        (None, _) => "starting".to_owned(),
    }
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64 * 100.0
}

fn milliseconds(ns: f64) -> String {
    format!("{:.3} ms", ns / 1e6)
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stamp::status::Status;

    use super::write;

    #[test]
    fn the_table_shows_numbers_remedies_and_no_control_characters() {
        let up = json!({"name": "core\u{1b}[31m", "address": "10.0.0.2", "port": 862, "up": true,
            "packets": {"sent": 200, "received": 199, "lost": 1},
            "roundtrip": {"p50": 120_000, "p99": 2_500_000},
            "offset": {"offset_ns": -1_500_000, "bound_ns": 50_000},
            "peer": {"timescale": "suspect"}});
        let down = json!({"name": "edge", "up": false, "cause": "no_reply"});
        let summary = json!({"targets": [up, down]});
        let reflector = json!({"requests": 5, "replies": 4, "dropped": {"denied": 1, "hmac": 0}, "sessions": [{}]});
        let clock = json!({"synchronized": true, "source": "ntp", "error_ns": 40_000});
        let status = Status::new(Some(clock), Some(summary), Some(reflector));
        let mut out = Vec::new();
        write(&status, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "10.0.0.2 port 862",
            "1 (0.50 %)",
            "0.120 ms",
            "2.500 ms",
            "-1.500 ms ± 0.050 ms",
            "down: no_reply",
            "--peer-timescale tai",
            "edge: no reply comes",
            "reflector: 5 requests, 4 replies, 1 sessions\n  dropped denied: 1\nclock",
            "clock of that host: synchronised, source ntp, error 0.040 ms",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
