//! Logs on stderr: one event a line, as JSON or for people.
//!
//! Lines pass a bounded queue to a thread of their own, so that a reader of stderr who stops
//! reading never stops a thread that measures; lines that find no room are counted.
//! The level can be changed while the process runs. What the environment says is passed in.

use std::io::{self, Write};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::catalogue::Catalogue;
use crate::metric::{Family, Metric, Unit};
use crate::registry::{Registry as Metrics, RegistryError, Source};

mod event_limit;
mod level;
mod queue;

pub use self::event_limit::EventLimit;
pub use self::level::{FormatError, LevelError, parse_format, parse_level};

use self::queue::Queue;

static LINES: Metric = Metric::counter(
    "fathom_log_lines_total",
    Unit::Count("{line}"),
    "Log lines by what became of them.",
    &["result"],
);

/// Metrics of the logs.
pub(crate) const CATALOGUE: Catalogue = Catalogue { title: "Logs", metrics: &[&LINES] };

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One JSON object a line, with the event's fields beside `timestamp` and `level`.
    #[default]
    Json,
    /// For people.
    Console,
}

/// What is logged and how.
#[derive(Clone, Debug)]
pub struct Config {
    /// The format.
    pub format: Format,
    /// The least severe level.
    pub level: Level,
    /// The value of `RUST_LOG`, which overrides the level where it is given and not empty.
    pub directives: Option<String>,
    /// Whether console lines are coloured; see [`colours`].
    pub colours: bool,
}

/// The logs of the process; lines still queued are written when it is dropped.
#[derive(Debug)]
pub struct Logs {
    queue: Queue,
    filter: reload::Handle<EnvFilter, Registry>,
    overridden: bool,
}

impl Logs {
    /// Makes `config` the logging of the whole process, on stderr.
    pub fn install(config: &Config) -> Result<Self, LogsError> {
        let (dispatch, logs) = Self::build(config, io::stderr())?;
        tracing::dispatcher::set_global_default(dispatch).map_err(|_| LogsError::Installed)?;
        Ok(logs)
    }

    /// Makes a dispatcher that writes to `sink`, for use in one scope.
    pub fn build(
        config: &Config,
        sink: impl Write + Send + 'static,
    ) -> Result<(Dispatch, Self), LogsError> {
        let directives = config.directives.as_deref().filter(|text| !text.trim().is_empty());
        let filter = filter(config.level, directives)?;
        let (filter, handle) = reload::Layer::new(filter);
        let queue = Queue::start(sink).map_err(|source| LogsError::Thread { source })?;
        let lines = lines(config, &queue).with_filter(filter);
        let dispatch = Dispatch::new(Registry::default().with(lines));
        Ok((dispatch, Self { queue, filter: handle, overridden: directives.is_some() }))
    }

    /// Changes the level, as after a reload; `RUST_LOG` keeps overriding it.
    pub fn set_level(&self, level: Level) {
        if !self.overridden && self.filter.reload(plain(level)).is_err() {
            tracing::error!(event = "log.level", "The log level could not be changed");
        }
    }

    /// Shows the counters of lines in `metrics`.
    pub fn register(&self, metrics: &Metrics) -> Result<(), RegistryError> {
        metrics.source("logs", CATALOGUE, self.queue.counts())
    }

    /// Waits until all lines so far are written, but not longer than `deadline`.
    pub fn flush(&self, deadline: Duration) -> bool {
        self.queue.flush(deadline)
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.queue.flush(LAST_LINES);
    }
}

/// Whether console lines should be coloured: on a terminal, unless `NO_COLOR` is set to
/// anything but the empty text (<https://no-color.org>).
pub fn colours(no_color: Option<&str>, terminal: bool) -> bool {
    terminal && no_color.unwrap_or_default().is_empty()
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogsError {
    /// `RUST_LOG` cannot be read.
    #[error("RUST_LOG is not a list of directives: {source}; write for example info,flow=debug")]
    Directives {
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was set up before.
    #[error("logging is set up already; install it once, in main")]
    Installed,
    /// No thread.
    #[error("the thread that writes logs cannot be started; check the limit of processes")]
    Thread {
        /// What the kernel said.
        source: io::Error,
    },
}

impl Source for queue::Counts {
    fn families(&self) -> Vec<Family> {
        let mut lines = Family::new(&LINES);
        lines.push(["written".into()], self.written());
        lines.push(["dropped".into()], self.dropped());
        lines.push(["failed".into()], self.failed());
        vec![lines]
    }
}

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

fn lines<S>(config: &Config, queue: &Queue) -> BoxedLayer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let lines = fmt::layer().with_writer(queue.writers());
    match config.format {
        Format::Console => lines.with_ansi(config.colours).boxed(),
        Format::Json => {
            let spans = lines.json().flatten_event(true).with_current_span(false);
            spans.with_span_list(false).with_ansi(false).boxed()
        }
    }
}

fn filter(level: Level, directives: Option<&str>) -> Result<EnvFilter, LogsError> {
    let Some(directives) = directives else {
        return Ok(plain(level));
    };
    let builder = EnvFilter::builder().with_default_directive(LevelFilter::ERROR.into());
    builder.parse(directives).map_err(|source| LogsError::Directives { source })
}

/// The level for everything, except for crates that tell what strangers do: of those only
/// errors are shown, because a client could write a line with each frame it sends.
fn plain(level: Level) -> EnvFilter {
    let all = EnvFilter::default().add_directive(LevelFilter::from_level(level).into());
    let quiet = FOREIGN.iter().filter_map(|name| format!("{name}=error").parse().ok());
    quiet.fold(all, EnvFilter::add_directive)
}

/// Every crate below ours that has events. `RUST_LOG` still shows them.
const FOREIGN: [&str; 8] =
    ["axum", "h2", "hyper", "hyper_util", "rustls", "tonic", "tower", "tower_http"];

/// What the last lines of a process may take; stderr is rarely slow, but may be stuck.
const LAST_LINES: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
