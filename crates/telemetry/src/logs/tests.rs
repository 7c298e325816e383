use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::Level;

use super::{Config, Format, Logs, LogsError, colours};
use crate::registry::Source;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks in every write until the sender is gone, as a pipe that nobody reads.
struct Stuck(Mutex<Receiver<()>>);

impl Stuck {
    fn new() -> (Sender<()>, Self) {
        let (release, blocked) = channel();
        (release, Self(Mutex::new(blocked)))
    }
}

impl Write for Stuck {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let _gone = self.0.lock().unwrap().recv();
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn config(format: Format) -> Config {
    Config { format, level: Level::INFO, directives: None, colours: false }
}

fn said(config: &Config, speak: impl FnOnce(&Logs)) -> String {
    let sink = Sink::default();
    let (dispatch, logs) = Logs::build(config, sink.clone()).unwrap();
    tracing::dispatcher::with_default(&dispatch, || speak(&logs));
    assert!(logs.flush(Duration::from_secs(10)));
    sink.text()
}

#[test]
fn json_is_one_object_a_line_with_flat_fields() {
    let text = said(&config(Format::Json), |_| {
        tracing::info!(event = "flows.ready", edges = 3, "Ready \"now\"\nand here");
        tracing::debug!("Not shown");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["event"], "flows.ready");
    assert_eq!(line["edges"], 3);
    assert_eq!(line["message"], "Ready \"now\"\nand here");
    assert_eq!(line["target"], "telemetry::logs::tests");
    let at = line["timestamp"].as_str().unwrap();
    assert!(at.ends_with('Z') && at.chars().nth(10) == Some('T'), "{at} is no RFC 3339 time");
}

#[test]
fn console_lines_are_coloured_only_when_asked() {
    let plain = said(&config(Format::Console), |_| tracing::warn!("Careful"));
    assert!(plain.contains("WARN") && !plain.contains('\u{1b}'), "{plain:?}");
    let coloured = Config { colours: true, ..config(Format::Console) };
    assert!(said(&coloured, |_| tracing::warn!("Careful")).contains('\u{1b}'));
}

#[test]
fn a_line_break_in_a_field_does_not_forge_an_event() {
    let text = said(&config(Format::Console), |_| {
        let name = "pod\n2026-01-01 INFO forged\r\n";
        tracing::info!(%name, "Seen");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("name=pod\\n2026-01-01 INFO forged") && text.ends_with('\n'), "{text}");
}

#[test]
fn what_libraries_tell_is_shown_only_if_it_is_an_error_or_asked_for() {
    let strangers = |_: &Logs| {
        tracing::warn!(target: "h2::proto::streams::recv", "recv_reset");
        tracing::info!(target: "hyper_util::client", "pooled");
        tracing::error!(target: "h2::codec", "broken");
        tracing::debug!(target: "flow::drain", "drained");
    };
    for level in [Level::WARN, Level::INFO, Level::DEBUG] {
        let text = said(&Config { level, ..config(Format::Console) }, strangers);
        assert!(!text.contains("recv_reset") && !text.contains("pooled"), "{level}: {text}");
        assert!(text.contains("broken"), "{level}: {text}");
        assert_eq!(text.contains("drained"), level == Level::DEBUG, "{text}");
    }
    let directives = Some("info".to_owned());
    let text = said(&Config { directives, ..config(Format::Console) }, strangers);
    assert!(text.contains("recv_reset") && text.contains("pooled"), "{text}");
}

#[test]
fn colours_need_a_terminal_and_no_objection() {
    assert!(colours(None, true));
    assert!(colours(Some(""), true));
    assert!(!colours(Some("1"), true));
    assert!(!colours(None, false));
}

#[test]
fn the_level_changes_while_running() {
    let text = said(&config(Format::Console), |logs| {
        tracing::debug!("before");
        logs.set_level(Level::DEBUG);
        tracing::debug!("after");
    });
    assert!(!text.contains("before") && text.contains("after"), "{text}");
}

#[test]
fn rust_log_overrides_the_level_also_after_a_change() {
    let directives = Some("off,telemetry=debug".to_owned());
    let text = said(&Config { directives, ..config(Format::Console) }, |logs| {
        logs.set_level(Level::ERROR);
        tracing::debug!("kept");
        tracing::error!(target: "elsewhere", "dropped");
    });
    assert!(text.contains("kept") && !text.contains("dropped"), "{text}");
}

#[test]
fn wrong_directives_are_an_error_with_the_variable_in_it() {
    let directives = Some("telemetry=loud".to_owned());
    let error = Logs::build(&Config { directives, ..config(Format::Json) }, io::sink());
    let error = error.err().unwrap();
    assert!(matches!(error, LogsError::Directives { .. }));
    assert!(error.to_string().starts_with("RUST_LOG is not"), "{error}");
}

#[test]
fn a_stuck_reader_costs_lines_but_never_stops_a_thread() {
    let (release, stuck) = Stuck::new();
    let (dispatch, logs) = Logs::build(&config(Format::Json), stuck).unwrap();
    let started = Instant::now();
    tracing::dispatcher::with_default(&dispatch, || {
        for n in 0..10_000 {
            tracing::info!(n, "Speaking to nobody");
        }
    });
    assert!(started.elapsed() < Duration::from_secs(30), "took {:?}", started.elapsed());
    assert!(!logs.flush(Duration::from_millis(20)), "nothing was written yet");
    let counts = logs.queue.counts();
    assert!(counts.dropped() >= 10_000 - 4096 - 2, "{} dropped", counts.dropped());
    drop(release);
    assert!(logs.flush(Duration::from_secs(30)));
    assert_eq!(counts.written() + counts.dropped(), 10_000, "every line is accounted for");
    assert_eq!(counts.families()[0].points().len(), 3);
}
