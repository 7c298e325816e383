//! Two hosts that a cable joins, and the commands on them.

use std::net::UdpSocket;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use clap::Parser;
use http_body_util::BodyExt;
use serde_json::Value;
use stamp::settings::{Host as Process, Reflect, Send, expand};
use stamp::{Controls, Error, System};
use testkit::{Device, EnterError, Namespace, Place, Veth};
use tower::ServiceExt;

/// How long a test waits for what is certain to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Port of every reflector here.
pub(crate) const PORT: u16 = 862;

#[derive(Parser)]
struct SendLine {
    #[command(flatten)]
    settings: Send,
}

#[derive(Parser)]
struct ReflectLine {
    #[command(flatten)]
    settings: Reflect,
}

fn parse<L: Parser>(line: &str) -> L {
    let arguments = ["fathom"].into_iter().chain(line.split_whitespace()).map(Into::into);
    L::try_parse_from(expand(arguments).unwrap()).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) struct Cable {
    pub(crate) near: Host,
    pub(crate) far: Host,
}

pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    pub(crate) device: Device,
    pub(crate) addresses: [&'static str; 2],
}

impl Cable {
    pub(crate) fn new() -> Self {
        let [near, far] = ["near", "far"].map(|name| Namespace::create(name).unwrap());
        let veth = Veth::join((near.place(), "near0"), (far.place(), "far0")).unwrap();
        let near = Host::new(near, veth.near, ["10.7.0.2", "fd07::2"]);
        let far = Host::new(far, veth.far, ["10.7.0.1", "fd07::1"]);
        for host in [&near, &far] {
            host.device.ready(PATIENCE).unwrap();
        }
        Self { near, far }
    }
}

impl Host {
    fn new(namespace: Namespace, device: Device, addresses: [&'static str; 2]) -> Self {
        for (address, len) in addresses.iter().zip([24, 64]) {
            device.address(format!("{address}/{len}").parse().unwrap()).unwrap();
        }
        Self { namespace, device, addresses }
    }

    pub(crate) fn place(&self) -> &Place {
        self.namespace.place()
    }

    /// What a sender measured, which the kernel had to time.
    pub(crate) fn send(&self, line: &str) -> Value {
        self.begin(&[], &[line], &Process::default()).end()
    }

    pub(crate) fn reflect(&self, line: &str) -> Running {
        self.begin(&[line], &[], &Process::default())
    }

    /// Roles of one process, from when they are attached on.
    pub(crate) fn begin(&self, reflect: &[&str], send: &[&str], host: &Process) -> Running {
        self.try_begin(reflect, send, host).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_begin(
        &self,
        reflect: &[&str],
        send: &[&str],
        host: &Process,
    ) -> Result<Running, Error> {
        let reflectors: Vec<Reflect> =
            reflect.iter().map(|line| parse::<ReflectLine>(line).settings).collect();
        let senders: Vec<Send> = send.iter().map(|line| parse::<SendLine>(line).settings).collect();
        let (tell, told) = std::sync::mpsc::channel();
        let host = host.clone();
        let thread = self.place().thread("stamp", move || {
            let system = match System::new(&senders, &reflectors, &host) {
                Ok(system) => system,
                Err(error) => return drop(tell.send(Err(error))),
            };
            let (end, ended) = std::sync::mpsc::channel();
            tell.send(Ok((system.controls(), system.routes(), ended))).unwrap();
            let finished = system.run().unwrap_or_else(|error| panic!("{error}"));
            let document = match (&finished.sender, &finished.reflector) {
                (Some(sender), _) => serde_json::to_value(sender),
                (None, reflector) => serde_json::to_value(reflector),
            };
            let reflector = serde_json::to_value(&finished.reflector);
            end.send((document.unwrap(), reflector.unwrap())).ok();
        });
        let (controls, routes, ended) = told.recv_timeout(PATIENCE).unwrap()?;
        Ok(Running { controls, routes, ended, thread: Some(thread.unwrap()) })
    }

    /// A client that knows nothing of this: an ordinary socket on its way to the other host.
    pub(crate) fn client(&self, from: &str, to: &str) -> UdpSocket {
        let socket = self.place().run(|| UdpSocket::bind((from, 0)).unwrap()).unwrap();
        socket.connect((to, PORT)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket
    }
}

/// A system on a thread of its own.
pub(crate) struct Running {
    controls: Controls,
    routes: Router,
    ended: std::sync::mpsc::Receiver<(Value, Value)>,
    thread: Option<JoinHandle<Result<(), EnterError>>>,
}

impl Running {
    /// Waits for its end: what the sender measured, or the reflector where there is none.
    pub(crate) fn end(mut self) -> Value {
        self.finish().0
    }

    /// Stops it; what its reflector did.
    pub(crate) fn stop(self) -> Value {
        self.halt().1
    }

    /// Stops it; what its sender measured and its reflector did.
    pub(crate) fn halt(mut self) -> (Value, Value) {
        self.controls.stop();
        self.finish()
    }

    /// Has it read its keys again.
    pub(crate) fn reload(&self) {
        self.controls.reload();
    }

    /// A document of now.
    pub(crate) fn show(&self, path: &str) -> Value {
        let request = Request::get(format!("/api/v1/stamp{path}")).body(Body::empty()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let response = self.routes.clone().oneshot(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            serde_json::from_slice(&body).unwrap()
        })
    }

    /// Requests to all targets.
    pub(crate) fn sent(&self) -> u64 {
        packets(&self.show("")).iter().map(|[sent, ..]| sent).sum()
    }

    fn finish(&mut self) -> (Value, Value) {
        let documents = self.ended.recv_timeout(Duration::from_secs(60)).unwrap();
        self.thread.take().unwrap().join().unwrap().unwrap();
        documents
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.controls.stop();
    }
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

/// Sent, received and lost of each target.
pub(crate) fn packets(summary: &Value) -> Vec<[u64; 3]> {
    let targets = summary["targets"].as_array().unwrap();
    let of = |target: &Value| {
        ["sent", "received", "lost"].map(|name| target["packets"][name].as_u64().unwrap())
    };
    targets.iter().map(of).collect()
}
