//! The commands: from settings to a document.
//!
//! Each is prepared first, which is when everything is looked at that can be refused, and
//! then runs.

mod reflect;
mod send;

use std::path::PathBuf;
use std::time::Duration;

use stamp_proto::statistics::{Bins, Scale};
use stamp_proto::timestamp::Format as Times;

use crate::clock::HostClock;
use crate::error::{ClockRefused, Error};
use crate::histogram::HistogramFile;
use crate::settings::{Common, HistScale, TimestampFormat};

pub use reflect::Reflection;
pub use send::Measurement;

fn enforce(common: &Common, clock: &HostClock) -> Result<(), ClockRefused> {
    let local = clock.local();
    if (common.enforce_sync || common.enforce_ptp) && !local.synchronized {
        return Err(ClockRefused::Unsynchronised);
    }
    if common.enforce_ptp {
        return Err(ClockRefused::NoPtp);
    }
    let allowed = common
        .max_error
        .filter(|_| common.enforce_sync)
        .map(|most| nanoseconds(most).unsigned_abs());
    match (local.error_ns, allowed) {
        (Some(error_ns), Some(allowed_ns)) if error_ns > allowed_ns => {
            Err(ClockRefused::ErrorTooLarge { error_ns, allowed_ns })
        }
        _ => Ok(()),
    }
}

fn bins(common: &Common) -> Result<Option<Bins>, Error> {
    let Some((bins, floor, ceiling)) = common.histogram() else { return Ok(None) };
    let scale = match common.hist_scale {
        HistScale::Linear => Scale::Linear,
        HistScale::Log10 => Scale::Log10,
    };
    let bins = Bins::new(bins, floor, ceiling, scale);
    bins.map(Some).map_err(|error| Error::Settings(vec![error.into()]))
}

/// Where the histogram goes: bare `--hist` is how the replaced chart asked for it.
fn histogram_path(common: &Common, bare: &str) -> PathBuf {
    let is_bare = common.hist.is_some_and(|hist| hist.is_bare());
    let default = if is_bare { bare } else { "./hist" };
    common.histpath.clone().unwrap_or_else(|| default.into())
}

fn write_histogram(file: Option<&HistogramFile>, bins: Option<&Bins>) {
    let (Some(file), Some(bins)) = (file, bins) else { return };
    if let Err(error) = file.write(bins) {
        tracing::warn!(event = "histogram.lost", %error, "A histogram can't be written");
    }
}

fn device(name: &str) -> Option<&str> {
    Some(name).filter(|&name| name != "auto")
}

const fn times(format: TimestampFormat) -> Times {
    match format {
        TimestampFormat::Ntp => Times::Ntp,
        TimestampFormat::Ptp => Times::Ptp,
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// How often files are brought up to date.
const EACH_NS: i64 = 1_000_000_000;
