//! The client's side of TLS.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Authorities for OTLP that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// The system has none.
    #[error("the system has no certificate authorities: {source}; install ca-certificates")]
    System {
        /// What was tried.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("{} cannot be read: {source}; check the path of the OTLP certificate", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file holds no certificate.
    #[error("{} holds no usable certificate; give the authority's certificate as PEM", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
    },
    /// rustls and its provider do not fit, which is a bug.
    #[error("the versions of TLS cannot be offered: {source}; this is a bug")]
    Versions {
        /// What rustls said.
        source: rustls::Error,
    },
}

/// Connects to `http` and `https`; authorities are only loaded where `secure` asks for them.
pub(super) fn connector(
    secure: bool,
    certificate: Option<&Path>,
) -> Result<HttpsConnector<HttpConnector>, RootsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| RootsError::Versions { source })?;
    let config = match certificate {
        _ if !secure => builder.with_root_certificates(RootCertStore::empty()),
        Some(path) => builder.with_root_certificates(roots(path)?),
        None => builder.with_native_roots().map_err(|source| RootsError::System { source })?,
    };
    let connector = HttpsConnectorBuilder::new().with_tls_config(config.with_no_client_auth());
    Ok(connector.https_or_http().enable_http1().build())
}

/// Reads authorities as PEM, bounded.
pub(super) fn pem(path: &Path) -> Result<Vec<u8>, RootsError> {
    let failed = |source| RootsError::Read { path: path.to_owned(), source };
    let mut octets = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(PEM_LIMIT).read_to_end(&mut octets).map_err(failed)?;
    Ok(octets)
}

fn roots(path: &Path) -> Result<RootCertStore, RootsError> {
    let octets = pem(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&octets) {
        let added = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
        added.ok_or_else(|| RootsError::Certificate { path: path.to_owned() })?;
    }
    if roots.is_empty() {
        return Err(RootsError::Certificate { path: path.to_owned() });
    }
    Ok(roots)
}

/// Holds a CA bundle of a whole distribution.
const PEM_LIMIT: u64 = 1 << 20;
