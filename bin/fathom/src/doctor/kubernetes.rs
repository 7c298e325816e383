//! Whether pods can be given their names.

use std::fs::File;
use std::io::Read;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::finding::Finding;
use crate::args::Doctor;

/// Whether there are any.
pub(super) fn credentials(root: &Path, kubeconfig: Option<&Path>) -> Finding {
    const CHECK: &str = "kube-credentials";
    if let Some(path) = kubeconfig {
        return match File::open(path) {
            Ok(_) => Finding::ok(CHECK, path.display().to_string()),
            Err(error) => absent(CHECK, format!("{}: {error}", path.display())),
        };
    }
    if root.join(TOKEN).is_file() {
        return Finding::ok(CHECK, "those of the pod");
    }
    absent(CHECK, "neither KUBECONFIG nor a service account".into())
}

/// Whether the API server can be reached.
pub(super) fn reachability(asked: &Doctor) -> Finding {
    const CHECK: &str = "kube-api";
    let Some((host, port)) = server(asked) else {
        return absent(CHECK, "no API server is known".into());
    };
    match reach(host.clone(), port) {
        Ok(()) => Finding::ok(CHECK, format!("{host} port {port} accepts connections")),
        Err(why) => absent(CHECK, format!("{host} port {port}: {why}")),
    }
}

fn absent(check: &'static str, found: String) -> Finding {
    Finding::degraded(
        check,
        found,
        "pods have no names, workloads and zones; amounts are not affected",
    )
    .with_remedy("give --kubeconfig, or run in a pod with a service account")
}

fn server(asked: &Doctor) -> Option<(String, u16)> {
    match &asked.kubeconfig {
        Some(path) => server_of(&text(path)?),
        None => Some((asked.api_host.clone()?, asked.api_port)),
    }
}

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The server of the current context, else of the first cluster.
fn server_of(kubeconfig: &str) -> Option<(String, u16)> {
    let config: Value = serde_saphyr::from_str(kubeconfig).ok()?;
    let named = |list: &str, name: &Value| {
        config.get(list)?.as_array()?.iter().find(|entry| entry.get("name") == Some(name))
    };
    let current = config.get("current-context").and_then(|context| named("contexts", context));
    let cluster =
        current.and_then(|context| named("clusters", context.get("context")?.get("cluster")?));
    let cluster = cluster.or_else(|| config.get("clusters")?.get(0))?;
    host_and_port(cluster.get("cluster")?.get("server")?.as_str()?)
}

fn host_and_port(url: &str) -> Option<(String, u16)> {
    let (usual, rest) = match url.split_once("://")? {
        ("https", rest) => (443, rest),
        ("http", rest) => (80, rest),
        _ => return None,
    };
    let authority = rest.split('/').next()?;
    // An IPv6 address holds colons, but none behind its bracket except that of the port.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, usual),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// Resolves and connects on a thread of its own, because resolving knows no time limit.
fn reach(host: String, port: u16) -> Result<(), String> {
    let (sender, answer) = sync_channel(1);
    let attempt = move || {
        let addresses = (host.as_str(), port).to_socket_addrs();
        let reached = addresses.and_then(|mut addresses| {
            let address = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
            TcpStream::connect_timeout(&address, PATIENCE)
        });
        // Too late: nobody listens any more.
        drop(sender.send(reached.map(drop).map_err(|error| error.to_string())));
    };
    let spawned = thread::Builder::new().name("kube-api".into()).spawn(attempt);
    spawned.map_err(|error| error.to_string())?;
    answer.recv_timeout(PATIENCE).unwrap_or_else(|_| Err("no answer within 2 s".into()))
}

const TOKEN: &str = "var/run/secrets/kubernetes.io/serviceaccount/token";
const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{host_and_port, reach, server_of};

    fn at(host: &str, port: u16) -> Option<(String, u16)> {
        Some((host.to_owned(), port))
    }

    #[test]
    fn hosts_and_ports_are_read_off_urls() {
        assert_eq!(host_and_port("https://10.0.0.1:6443"), at("10.0.0.1", 6443));
        assert_eq!(host_and_port("https://api.example/k8s"), at("api.example", 443));
        assert_eq!(host_and_port("http://[fd00::1]:8080/"), at("fd00::1", 8080));
        assert_eq!(host_and_port("https://[fd00::1]"), at("fd00::1", 443));
        for nonsense in ["", "10.0.0.1:6443", "ftp://x", "https://", "https://x:port"] {
            assert_eq!(host_and_port(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn the_server_of_the_current_context_is_meant() {
        let config = "\
current-context: b
contexts:
  - {name: a, context: {cluster: one}}
  - {name: b, context: {cluster: two}}
clusters:
  - {name: one, cluster: {server: 'https://one:1'}}
  - {name: two, cluster: {server: 'https://two:2'}}
";
        assert_eq!(server_of(config), at("two", 2));
        assert_eq!(server_of(&config.replace("current-context: b", "")), at("one", 1));
        assert_eq!(server_of("clusters: 3"), None);
        assert_eq!(server_of(": ["), None);
    }

    #[test]
    fn a_listening_port_is_reached_and_a_closed_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(reach("127.0.0.1".into(), port), Ok(()));
        drop(listener);
        assert!(reach("127.0.0.1".into(), port).is_err());
    }
}
