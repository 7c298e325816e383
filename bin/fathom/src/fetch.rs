//! Documents of another process of ours, by HTTP without TLS.
//!
//! Whoever answers may be anybody: the answer is bounded in size and in time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Where the documents are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    host: String,
    port: u16,
    authority: String,
    prefix: String,
}

/// Why a text names no server.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    /// Not a URL with a host.
    #[error("{0:?} is no URL; write for example http://127.0.0.1:8080")]
    Form(String),
    /// Anything but HTTP.
    #[error("{0:?} is not spoken here; ask the listener by http, without TLS")]
    Scheme(String),
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// Nobody listens.
    #[error(
        "nothing answers at {server}: {source}; start `fathom stamp` or the agent, or name where it listens with --url"
    )]
    Connect {
        /// Where.
        server: Server,
        /// The error number.
        source: std::io::Error,
    },
    /// What came is no HTTP, or too much of it.
    #[error(
        "{server} does not answer as it should: {source}; check that it is fathom that listens there"
    )]
    Exchange {
        /// Where.
        server: Server,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came in time.
    #[error("{server} does not answer within {} s; check that it is fathom that listens there", PATIENCE.as_secs())]
    Late {
        /// Where.
        server: Server,
    },
    /// The listener wants to know who asks.
    #[error(
        "{server} asks for a password, which this command can't give; ask it with a browser or curl"
    )]
    Password {
        /// Where.
        server: Server,
    },
    /// Another answer than a document.
    #[error("{server} answers {status}; try again, or look at its log")]
    Refused {
        /// Where.
        server: Server,
        /// The status.
        status: StatusCode,
    },
}

impl Server {
    /// The document at a path; none where there is nothing.
    pub(crate) async fn document(&self, path: &str) -> Result<Option<Value>, FetchError> {
        let answer = timeout(PATIENCE, self.fetch(path)).await;
        answer.unwrap_or_else(|_| Err(FetchError::Late { server: self.clone() }))
    }

    async fn fetch(&self, path: &str) -> Result<Option<Value>, FetchError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream =
            stream.map_err(|source| FetchError::Connect { server: self.clone(), source })?;
        let (status, body) = self.exchange(stream, path).await.map_err(|error| self.odd(error))?;
        match status {
            StatusCode::OK => {
                serde_json::from_slice(&body).map(Some).map_err(|error| self.odd(error))
            }
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED => Err(FetchError::Password { server: self.clone() }),
            status => Err(FetchError::Refused { server: self.clone(), status }),
        }
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        path: &str,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get(format!("{}{path}", self.prefix))
            .header(HOST, &self.authority)
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST).collect().await?;
        Ok((status, body.to_bytes()))
    }

    fn odd(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> FetchError {
        FetchError::Exchange { server: self.clone(), source: source.into() }
    }
}

impl FromStr for Server {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let form = || UrlError::Form(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| form())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(other) => return Err(UrlError::Scheme(other.to_owned())),
            None => return Err(form()),
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(form)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || uri.query().is_some() {
            return Err(form());
        }
        Ok(Self {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

/// Each document has this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ten times what 1024 targets and a full table of sessions need.
const LONGEST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::{Server, UrlError};

    #[test]
    fn urls_name_host_port_and_prefix() {
        let server = |text: &str| text.parse::<Server>().unwrap();
        let one = server("http://[::1]:8080/behind/");
        assert_eq!((one.host.as_str(), one.port, one.prefix.as_str()), ("::1", 8080, "/behind"));
        assert_eq!(one.to_string(), "http://[::1]:8080/behind");
        assert_eq!(server("http://node").port, 80);
    }

    #[test]
    fn what_is_no_url_of_http_is_refused() {
        for text in
            ["", "127.0.0.1", "127.0.0.1:8080", "http://", "http://u:p@h", "http://h?x", "::"]
        {
            assert_eq!(text.parse::<Server>(), Err(UrlError::Form(text.to_owned())), "{text}");
        }
        let tls = "https://h".parse::<Server>();
        assert_eq!(tls, Err(UrlError::Scheme("https".to_owned())));
    }
}
