//! The web configuration file, in the format of the Prometheus exporter toolkit.
//!
//! Everything that is wrong with it is listed at once. What cannot be honoured is an error
//! and never ignored: each line of this file is there for somebody's security.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use ring::digest;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::auth::{Users, cost};
use super::tls::{self, TlsProblem};
use crate::yaml::Fault;

/// What the listener takes from the file.
#[derive(Debug, Default)]
pub(super) struct Security {
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) users: Users,
    pub(super) headers: HeaderMap,
}

impl Security {
    /// Whether it asks for nothing and adds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.tls.is_none() && self.users.is_empty() && self.headers.is_empty()
    }
}

/// A look at the file and all that it names.
pub(super) struct Reading {
    pub(super) outcome: Result<Security, WebConfigError>,
    /// Changes with every octet of any file read, and with whether it could be read.
    pub(super) fingerprint: Vec<u8>,
}

/// Reads the file at `path` and all that it names.
pub(super) fn read(path: &Path) -> Reading {
    let mut files = Files::new(path);
    let outcome = security(path, &mut files)
        .map_err(|problems| WebConfigError { path: path.to_owned(), problems });
    Reading { outcome, fingerprint: files.digest.finish().as_ref().to_vec() }
}

/// A web configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the web configuration {} cannot be used:{}", path.display(), list(problems))]
pub struct WebConfigError {
    /// The file.
    pub path: PathBuf,
    /// Everything that is wrong with it.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a web configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A file that cannot be read.
    #[error("{} cannot be read: {source}; check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file that is larger than any real one.
    #[error("{} is larger than {} KiB; this is not the right file", path.display(), FILE_LIMIT >> 10)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not YAML, or a value of the wrong type.
    #[error("the file does not read as a web configuration: {fault}")]
    Syntax {
        /// Where, and of what kind.
        fault: Fault,
    },
    /// A file without content in the place of one that had some.
    #[error(
        "the file is empty now, which would take TLS and passwords away; restart to do without them"
    )]
    Emptied,
    /// A key that nobody knows.
    #[error("{key} is not a key of the web configuration; remove it or correct its spelling")]
    UnknownKey {
        /// The key, with the section before it.
        key: Box<str>,
    },
    /// A password that is not a bcrypt hash.
    #[error("basic_auth_users.{user} is no bcrypt hash; make one with htpasswd -nBC 10 {user}")]
    NotBcrypt {
        /// The user.
        user: Box<str>,
    },
    /// A hash that would take minutes to check.
    #[error("basic_auth_users.{user} has cost {cost}; use {MOST_COST} at most")]
    CostTooHigh {
        /// The user.
        user: Box<str>,
        /// The cost factor of the hash.
        cost: u32,
    },
    /// A user name that no client can send.
    #[error("basic_auth_users: {user:?} is no user name; it must not be empty or hold a colon")]
    UserName {
        /// The user.
        user: Box<str>,
    },
    /// A response header that may not be set here.
    #[error("http_server_config.headers.{name} may not be set; allowed are {}", HEADERS.join(", "))]
    Header {
        /// The header.
        name: Box<str>,
    },
    /// A response header with a value that HTTP does not allow.
    #[error(
        "http_server_config.headers.{name} has a value that HTTP does not allow; use printable ASCII"
    )]
    HeaderValue {
        /// The header.
        name: Box<str>,
    },
    /// Something in `tls_server_config`.
    #[error("tls_server_config.{0}")]
    Tls(#[from] TlsProblem),
}

/// Reads files relative to the configuration, bounded, and remembers what they held.
pub(super) struct Files {
    directory: PathBuf,
    digest: digest::Context,
}

impl Files {
    fn new(config: &Path) -> Self {
        let directory = config.parent().map(Path::to_owned).unwrap_or_default();
        Self { directory, digest: digest::Context::new(&digest::SHA256) }
    }

    /// The path as seen from the configuration file.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// Reads a file whose path was resolved.
    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<u8>, Problem> {
        let content = read_bounded(path);
        let octets = content.as_deref().unwrap_or_default();
        self.digest.update(path.as_os_str().as_encoded_bytes());
        self.digest.update(&octets.len().to_le_bytes());
        self.digest.update(octets);
        self.digest.update(&[u8::from(content.is_ok())]);
        content
    }
}

#[derive(Default, Deserialize)]
struct Raw {
    tls_server_config: Option<tls::Raw>,
    #[serde(default)]
    http_server_config: RawHttp,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, String>,
    #[serde(flatten)]
    unknown: BTreeMap<String, IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct RawHttp {
    /// Allows HTTP/2, and does not demand it: the listener never speaks it.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(flatten)]
    unknown: BTreeMap<String, IgnoredAny>,
}

fn security(path: &Path, files: &mut Files) -> Result<Security, Vec<Problem>> {
    let octets = files.read(path).map_err(|problem| vec![problem])?;
    let raw = parse(&octets).map_err(|problem| vec![problem])?;
    let mut problems = unknown_keys("", &raw.unknown);
    problems.extend(unknown_keys("http_server_config.", &raw.http_server_config.unknown));
    let headers = headers(&raw.http_server_config.headers, &mut problems);
    let users = users(raw.basic_auth_users, &mut problems);
    let tls = match raw.tls_server_config {
        Some(raw_tls) => {
            problems.extend(unknown_keys("tls_server_config.", raw_tls.unknown()));
            tls::server_config(&raw_tls, files, &mut problems)
        }
        None => None,
    };
    if problems.is_empty() { Ok(Security { tls, users, headers }) } else { Err(problems) }
}

fn parse(octets: &[u8]) -> Result<Raw, Problem> {
    if octets.iter().all(u8::is_ascii_whitespace) {
        return Ok(Raw::default());
    }
    serde_saphyr::from_slice(octets).map_err(|error| Problem::Syntax { fault: (&error).into() })
}

fn unknown_keys(section: &str, unknown: &BTreeMap<String, IgnoredAny>) -> Vec<Problem> {
    let key = |key: &String| Problem::UnknownKey { key: format!("{section}{key}").into() };
    unknown.keys().map(key).collect()
}

fn headers(raw: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in raw {
        let allowed = HEADERS.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) if allowed => drop(headers.insert(name, value)),
            (Ok(_), Err(_)) if allowed => {
                problems.push(Problem::HeaderValue { name: name.as_str().into() });
            }
            _ => problems.push(Problem::Header { name: name.as_str().into() }),
        }
    }
    headers
}

fn users(hashes: BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Users {
    for (user, hash) in &hashes {
        let name: Box<str> = user.as_str().into();
        if user.is_empty() || user.contains(':') {
            problems.push(Problem::UserName { user: name.clone() });
        }
        match cost(hash) {
            None => problems.push(Problem::NotBcrypt { user: name }),
            Some(cost) if cost > MOST_COST => {
                problems.push(Problem::CostTooHigh { user: name, cost });
            }
            Some(_) => {}
        }
    }
    Users::new(hashes)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, Problem> {
    let failed = |source| Problem::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    let mut octets = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut octets).map_err(failed)?;
    if octets.len() as u64 > FILE_LIMIT {
        return Err(Problem::TooLarge { path: path.to_owned() });
    }
    Ok(octets)
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}

/// The headers that the exporter toolkit lets operators set.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
];

/// Cost 15 is about two seconds on a server of 2020.
const MOST_COST: u32 = 15;

/// Holds a CA bundle of a whole distribution.
const FILE_LIMIT: u64 = 1 << 20;

#[cfg(test)]
mod tests;
