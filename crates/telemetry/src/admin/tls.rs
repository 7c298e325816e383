//! `tls_server_config`: from Go's names to a rustls configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{
    NamedGroup, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::web_config::{Files, Problem};

mod unverified;

use self::unverified::AnyClientCert;

/// The section as it is written.
#[derive(Deserialize)]
pub(super) struct Raw {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
    client_auth_type: Option<String>,
    min_version: Option<String>,
    max_version: Option<String>,
    #[serde(default)]
    cipher_suites: Vec<String>,
    #[serde(default)]
    curve_preferences: Vec<String>,
    prefer_server_cipher_suites: Option<bool>,
    #[serde(flatten)]
    unknown: BTreeMap<String, IgnoredAny>,
}

impl Raw {
    pub(super) const fn unknown(&self) -> &BTreeMap<String, IgnoredAny> {
        &self.unknown
    }
}

/// One thing that is wrong with `tls_server_config`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsProblem {
    /// A file that must be named.
    #[error("{key} is missing; name the PEM file")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A file without what it should hold.
    #[error("{key}: {} holds no {what} in PEM form", path.display())]
    NoPem {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key that rustls does not take.
    #[error("cert_file and key_file cannot be used together: {source}; check that they match")]
    Pair {
        /// What rustls said.
        source: rustls::Error,
    },
    /// A certificate authority that rustls does not take.
    #[error("client_ca_file cannot be used: {source}")]
    ClientCa {
        /// What rustls said.
        source: rustls::Error,
    },
    /// A CA that nothing would be checked against.
    #[error(
        "client_ca_file is given but client_auth_type does not check certificates; \
         use VerifyClientCertIfGiven or RequireAndVerifyClientCert"
    )]
    UnusedClientCa,
    /// A policy of client certificates that does not exist.
    #[error(
        "client_auth_type {given:?} is unknown; use NoClientCert, RequestClientCert, \
         RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert"
    )]
    ClientAuthType {
        /// What was given.
        given: Box<str>,
    },
    /// A version of TLS that is not offered.
    #[error("{key} {given:?} is not offered; use TLS12 or TLS13")]
    Version {
        /// The key.
        key: &'static str,
        /// What was given.
        given: Box<str>,
    },
    /// No version is left.
    #[error("min_version is above max_version; exchange them")]
    NoVersion,
    /// A cipher suite that is unknown or unsafe.
    #[error("cipher_suites: {given:?} is not offered; use one of {}", suite_names())]
    CipherSuite {
        /// What was given.
        given: Box<str>,
    },
    /// A curve that is not offered.
    #[error("curve_preferences: {given:?} is not offered; use X25519, CurveP256 or CurveP384")]
    Curve {
        /// What was given.
        given: Box<str>,
    },
    /// Versions and cipher suites that exclude each other.
    #[error("the versions and cipher_suites leave nothing to offer; allow more of them")]
    NothingLeft,
}

/// Builds the server's side of TLS; every obstacle goes to `problems`.
pub(super) fn server_config(
    raw: &Raw,
    files: &mut Files,
    problems: &mut Vec<Problem>,
) -> Option<Arc<ServerConfig>> {
    let (provider, faults) = provider(raw);
    problems.extend(faults.into_iter().map(Problem::from));
    let versions = versions(raw).map_err(|faults| problems.extend(faults)).ok();
    let provider = Arc::new(provider);
    let verifier = client_auth(raw, &provider, files).map_err(|fault| problems.push(fault)).ok();
    let chain = certificates("cert_file", raw.cert_file.as_ref(), files);
    let chain = chain.map_err(|fault| problems.push(fault)).ok();
    let key = private_key(raw, files).map_err(|fault| problems.push(fault)).ok();
    let (versions, verifier, chain, key) = (versions?, verifier?, chain?, key?);
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|_| problems.push(TlsProblem::NothingLeft.into()))
        .ok()?;
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|source| problems.push(TlsProblem::Pair { source }.into()))
        .ok()?;
    config.ignore_client_order = raw.prefer_server_cipher_suites.unwrap_or(true);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(Arc::new(config))
}

fn versions(raw: &Raw) -> Result<Vec<&'static SupportedProtocolVersion>, Vec<Problem>> {
    let rank = |key, given: &Option<String>, default| match given.as_deref() {
        None => Ok(default),
        Some("TLS12") => Ok(0),
        Some("TLS13") => Ok(1),
        Some(given) => Err(Problem::from(TlsProblem::Version { key, given: given.into() })),
    };
    let least = rank("min_version", &raw.min_version, 0);
    let most = rank("max_version", &raw.max_version, 1);
    match (least, most) {
        (Ok(least), Ok(most)) if least <= most => Ok(VERSIONS[least..=most].to_vec()),
        (Ok(_), Ok(_)) => Err(vec![TlsProblem::NoVersion.into()]),
        (least, most) => Err([least.err(), most.err()].into_iter().flatten().collect()),
    }
}

fn provider(raw: &Raw) -> (CryptoProvider, Vec<TlsProblem>) {
    let mut provider = ring::default_provider();
    let mut faults = Vec::new();
    if !raw.cipher_suites.is_empty() {
        let (suites, unknown) = chosen_suites(&raw.cipher_suites);
        provider.cipher_suites = suites;
        faults.extend(unknown);
    }
    if !raw.curve_preferences.is_empty() {
        let (groups, unknown) = chosen_groups(&raw.curve_preferences);
        provider.kx_groups = groups;
        faults.extend(unknown);
    }
    (provider, faults)
}

/// As in Go, the list speaks about TLS 1.2 only; the suites of TLS 1.3 are always offered.
fn chosen_suites(names: &[String]) -> (Vec<SupportedCipherSuite>, Vec<TlsProblem>) {
    let all = ring::ALL_CIPHER_SUITES;
    let mut suites: Vec<_> = all.iter().copied().filter(|suite| suite.tls13().is_some()).collect();
    let mut faults = Vec::new();
    for name in names {
        match all.iter().find(|suite| suite_name(suite) == canonical(name)) {
            Some(suite) if suites.contains(suite) => {}
            Some(suite) => suites.push(*suite),
            None => faults.push(TlsProblem::CipherSuite { given: name.as_str().into() }),
        }
    }
    (suites, faults)
}

fn chosen_groups(names: &[String]) -> (Vec<&'static dyn SupportedKxGroup>, Vec<TlsProblem>) {
    let mut groups = Vec::new();
    let mut faults = Vec::new();
    for name in names {
        let wanted = match name.as_str() {
            "X25519" => Some(NamedGroup::X25519),
            "CurveP256" => Some(NamedGroup::secp256r1),
            "CurveP384" => Some(NamedGroup::secp384r1),
            _ => None,
        };
        match ring::ALL_KX_GROUPS.iter().find(|group| Some(group.name()) == wanted) {
            Some(group) => groups.push(*group),
            None => faults.push(TlsProblem::Curve { given: name.as_str().into() }),
        }
    }
    (groups, faults)
}

fn client_auth(
    raw: &Raw,
    provider: &Arc<CryptoProvider>,
    files: &mut Files,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let policy = raw.client_auth_type.as_deref().unwrap_or("NoClientCert");
    let verifies = policy.contains("Verify");
    if raw.client_ca_file.is_some() && !verifies {
        return Err(TlsProblem::UnusedClientCa.into());
    }
    match policy {
        "" | "NoClientCert" => Ok(WebPkiClientVerifier::no_client_auth()),
        "RequestClientCert" => Ok(Arc::new(AnyClientCert::new(provider, false))),
        "RequireClientCert" | "RequireAnyClientCert" => {
            Ok(Arc::new(AnyClientCert::new(provider, true)))
        }
        "VerifyClientCertIfGiven" => verified(raw, provider, files, false),
        "RequireAndVerifyClientCert" => verified(raw, provider, files, true),
        given => Err(TlsProblem::ClientAuthType { given: given.into() }.into()),
    }
}

fn verified(
    raw: &Raw,
    provider: &Arc<CryptoProvider>,
    files: &mut Files,
    required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client_ca_file", raw.client_ca_file.as_ref(), files)? {
        roots.add(certificate).map_err(|source| TlsProblem::ClientCa { source })?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    let verifier = builder.build().map_err(|_| TlsProblem::Missing { key: "client_ca_file" })?;
    Ok(verifier)
}

fn certificates(
    key: &'static str,
    path: Option<&PathBuf>,
    files: &mut Files,
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let path = files.resolve(path.ok_or(TlsProblem::Missing { key })?);
    let pem = files.read(&path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(TlsProblem::NoPem { key, path, what: "certificate" }.into()),
    }
}

fn private_key(raw: &Raw, files: &mut Files) -> Result<PrivateKeyDer<'static>, Problem> {
    let key = "key_file";
    let path = files.resolve(raw.key_file.as_ref().ok_or(TlsProblem::Missing { key })?);
    let pem = files.read(&path)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| TlsProblem::NoPem { key, path, what: "private key" }.into())
}

/// rustls marks the suites of TLS 1.3 in the name, the standard and Go do not.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.replace("TLS13_", "TLS_")
}

/// Go knows two names without the hash.
fn canonical(name: &str) -> String {
    let short = name.ends_with("CHACHA20_POLY1305");
    if short { format!("{name}_SHA256") } else { name.to_owned() }
}

fn suite_names() -> String {
    let names: Vec<_> = ring::ALL_CIPHER_SUITES.iter().map(suite_name).collect();
    names.join(", ")
}

static VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];
