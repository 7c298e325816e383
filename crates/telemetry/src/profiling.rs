//! Profiles of the running process in the format of pprof.
//!
//! For a listener of its own, on the loopback address by default: a profile tells a lot
//! about a process and costs it a little. One profile is taken at a time.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::protos::Message;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::admin::Limits;

/// The endpoints under `/debug/pprof`.
pub fn router() -> Router {
    Router::new()
        .route("/debug/pprof/profile", get(profile))
        .route("/debug/pprof/heap", get(heap))
        .route("/debug/pprof/cmdline", get(cmdline))
        .with_state(Arc::new(Semaphore::new(1)))
}

/// Limits of a listener that lets the longest profile end.
pub fn limits() -> Limits {
    let handler = Duration::from_secs(LONGEST + 15);
    Limits { connections: 8, handler, idle: handler * 2, ..Limits::default() }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(default = "usual")]
    seconds: u64,
}

const fn usual() -> u64 {
    30
}

async fn profile(
    State(turn): State<Arc<Semaphore>>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let seconds = parameters.seconds;
    if !(1..=LONGEST).contains(&seconds) {
        let told = format!("seconds={seconds} is out of range; use 1 to {LONGEST}\n");
        return (StatusCode::BAD_REQUEST, told).into_response();
    }
    let Ok(_turn) = turn.try_acquire() else {
        let told = "a profile is being taken already; try again when it has ended\n";
        return (StatusCode::TOO_MANY_REQUESTS, told).into_response();
    };
    match sample(Duration::from_secs(seconds)).await {
        Ok(octets) => file(octets),
        Err(error) => {
            let told = format!("no profile could be taken: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, told).into_response()
        }
    }
}

async fn heap() -> Response {
    let told = "the allocator of this program keeps no heap profile; \
                use heaptrack or a build with another allocator\n";
    (StatusCode::NOT_IMPLEMENTED, told).into_response()
}

/// As Go does: the arguments, separated by zero octets.
async fn cmdline() -> Response {
    match std::fs::read("/proc/self/cmdline") {
        Ok(octets) => octets.strip_suffix(b"\0").unwrap_or(&octets).to_vec().into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn sample(duration: Duration) -> Result<Vec<u8>, ProfileError> {
    // Unwinding through these libraries inside a signal can take a lock twice.
    let blocked = ["libc", "libgcc", "pthread", "vdso"];
    let guard = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&blocked).build()?;
    sleep(duration).await;
    tokio::task::spawn_blocking(move || encode(&guard)).await.map_err(|_| ProfileError::Panicked)?
}

fn encode(guard: &ProfilerGuard<'_>) -> Result<Vec<u8>, ProfileError> {
    let profile = guard.report().build()?.pprof()?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a Vec cannot fail.
    drop(encoder.write_all(&profile.encode_to_vec()));
    Ok(encoder.finish().unwrap_or_default())
}

fn file(octets: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"profile\"")),
    ];
    (headers, octets).into_response()
}

#[derive(Debug, thiserror::Error)]
enum ProfileError {
    #[error("{0}; check that no other profiler uses this process")]
    Sampler(#[from] pprof::Error),
    #[error("the sampler panicked; this is a bug")]
    Panicked,
}

/// Seconds; longer profiles are several profiles.
const LONGEST: u64 = 60;

/// Hertz; odd, so that it does not beat with timers of whole hundredths.
const FREQUENCY: i32 = 99;

#[cfg(test)]
mod tests;
