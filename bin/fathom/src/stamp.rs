//! `fathom stamp`: one process, its roles, and what it prints at the end.

mod status;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use flow::parse::Listen;
use serde::Serialize;
use stamp::decode::{decode, unhex};
use stamp::settings::{Format, Host, Pinning, Reflect, Roles, Send, expand};
use stamp::{Controls, Error, Finished, System};
use telemetry::registry::Registry;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::args::{Decode, Process, Service, Stamp, address};
use crate::daemon::signals::{Signal, Signals};
use crate::failure::Failure;
use crate::serving::{Listener, STAMP};
use crate::settings::Input;
use crate::{logging, output, rights, runtime, version};

/// Does one of the commands.
pub(crate) fn run(input: &Input, stamp: Stamp) -> Result<(), Failure> {
    match stamp {
        Stamp::Send { settings, service } => send(input, *settings, &service),
        Stamp::Reflect { settings, pinning, service } => {
            reflect(input, *settings, pinning, &service)
        }
        Stamp::Detach { device, bpf_pin_dir } => {
            let detached = stamp::detach(&bpf_pin_dir, device.as_deref())?;
            output::print_text(&detached.to_string())
        }
        Stamp::Run { roles, format, pinning, service } => {
            let roles = roles.roles().map_err(Failure::usage)?;
            let finished = live(input, &service, &roles, pinning)?;
            show(&finished, format)
        }
        Stamp::Status(asked) => status::run(&asked),
        Stamp::Decode(asked) => show_packet(&asked),
    }
}

/// Brings arguments of the replaced commands into the form of ours: by the name under which
/// the program was called, and as they wrote values.
pub(crate) fn modernise(arguments: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let called =
        arguments.first().map(Path::new).and_then(Path::file_name).and_then(|name| name.to_str());
    let role = match called {
        Some("sender") => Some("send"),
        Some("reflector") => Some("reflect"),
        _ => None,
    };
    let mut all = arguments.into_iter();
    let name = all.next();
    let implied = role.into_iter().flat_map(|role| ["stamp", role]).map(OsString::from);
    let full: Vec<OsString> = name.into_iter().chain(implied).chain(all).collect();
    match full.get(1) {
        Some(command) if command == "stamp" => {
            expand(full).map_err(|mangled| Error::from(mangled).into())
        }
        _ => Ok(full),
    }
}

fn send(input: &Input, settings: Send, service: &Service) -> Result<(), Failure> {
    let form = settings.common.format;
    let is_finite = settings.count > 0 || settings.duration.is_some();
    let roles = Roles { senders: vec![settings], reflectors: Vec::new() };
    let finished = live(input, service, &roles, Pinning::default())?;
    show(&finished, form)?;
    let silent = finished.sender.map(|sender| sender.silent()).unwrap_or_default();
    if is_finite && !silent.is_empty() { Err(Error::Silent(silent).into()) } else { Ok(()) }
}

fn reflect(
    input: &Input,
    settings: Reflect,
    pinning: Pinning,
    service: &Service,
) -> Result<(), Failure> {
    let (form, asked) =
        (settings.common.format, settings.output || settings.common.format == Format::Json);
    let roles = Roles { senders: Vec::new(), reflectors: vec![settings] };
    let finished = live(input, service, &roles, pinning)?;
    if asked { show(&finished, form) } else { Ok(()) }
}

/// Everything from the first log line to the last packet.
fn live(
    input: &Input,
    service: &Service,
    roles: &Roles,
    pinning: Pinning,
) -> Result<Finished, Failure> {
    let Roles { senders, reflectors } = roles;
    let mut debug = senders
        .iter()
        .map(|send| send.common.debug)
        .chain(reflectors.iter().map(|reflect| reflect.common.debug));
    let process = service.process(debug.any(|debug| debug));
    let reduced = rights::reduce();
    let _logs = logging::install(input, &process)?;
    rights::tell(reduced);
    let is_endless = !reflectors.is_empty()
        || senders.iter().any(|send| send.count == 0 && send.duration.is_none());
    let runtime = runtime::start(1)?;
    let stop = CancellationToken::new();
    let system = prepare(
        &runtime,
        &process,
        listener_of(service, is_endless),
        (roles, &Host { pinning, ..Host::default() }),
        &stop,
    )?;
    let finished = system.run()?;
    stop.cancel();
    runtime.shutdown_timeout(LAST_REQUESTS);
    Ok(finished)
}

/// Where to listen: where it was asked for, and by default where there is no end, if that
/// place is free.
fn listener_of(service: &Service, is_endless: bool) -> (Option<SocketAddr>, bool) {
    match service.listen {
        Some(listen) => (address(listen), true),
        None if is_endless => (address(Listen::At(DEFAULT)), false),
        None => (None, false),
    }
}

fn prepare(
    runtime: &Runtime,
    process: &Process,
    (listen, is_asked_for): (Option<SocketAddr>, bool),
    (roles, host): (&Roles, &Host),
    stop: &CancellationToken,
) -> Result<System, Failure> {
    let _entered = runtime.enter();
    let mut signals = Signals::listen()?;
    let registry = Registry::new(version::build());
    let system = System::new(&roles.senders, &roles.reflectors, host)?.exposed_in(&registry)?;
    let bound = Listener::bind(listen, process.web_config_file.clone(), &registry);
    let listen = bound.as_ref().ok().and_then(Listener::address).map(tracing::field::display);
    tracing::info!(event = "stamp.start", listen, ports = ?system.ports(), "Sockets are bound");
    match bound {
        Err(failure) if is_asked_for => return Err(failure),
        Err(failure) => {
            tracing::warn!(event = "listen.taken", error = %failure, "Nothing is served; name a free port with --listen")
        }
        Ok(listener) => drop(listener.serve(system.routes(), STAMP, stop.clone(), LAST_REQUESTS)),
    }
    let controls: Controls = system.controls();
    tokio::spawn(async move {
        loop {
            match signals.next().await {
                Signal::Stop => controls.stop(),
                Signal::Reload => controls.reload(),
            }
        }
    });
    Ok(system)
}

fn show(finished: &Finished, form: Format) -> Result<(), Failure> {
    if let Some(sender) = &finished.sender {
        print(sender, form)?;
    }
    if let Some(reflector) = &finished.reflector {
        print(reflector, form)?;
    }
    Ok(())
}

/// A document as one line, since lines of samples may come before it, or for people.
fn print(document: &(impl Serialize + Display), form: Format) -> Result<(), Failure> {
    output::print(|out| match form {
        Format::Table => write!(out, "{document}"),
        Format::Json => {
            serde_json::to_writer(&mut *out, document)?;
            out.write_all(b"\n")
        }
    })
}

fn show_packet(asked: &Decode) -> Result<(), Failure> {
    let mut text = asked.hex.clone();
    if text == "-" {
        text.clear();
        let read = io::stdin().lock().take(MOST_HEX).read_to_string(&mut text);
        read.context("standard input can't be read as text").map_err(Failure::usage)?;
    }
    let key =
        asked.key_file.as_deref().map(stamp::keys::read_one).transpose().map_err(Error::from)?;
    let payload = unhex(&text).map_err(|error| Failure::usage(anyhow!("HEX {error}")))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let decoded =
        decode(&payload, asked.mode, asked.role, key.as_ref(), now).map_err(Failure::usage)?;
    print(&decoded, asked.format)
}

/// The listener of the replaced tool.
const DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 8080);

/// Bound on requests that are open at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Digits of the longest payload, with white space between.
const MOST_HEX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::modernise;

    fn modern(line: &str) -> Vec<String> {
        let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
        modernise(arguments)
            .unwrap()
            .into_iter()
            .map(|argument| argument.into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_name_of_the_program_is_a_command() {
        assert_eq!(
            modern("/usr/local/bin/sender eth0 10.0.0.1"),
            ["/usr/local/bin/sender", "stamp", "send", "eth0", "10.0.0.1"]
        );
        assert_eq!(
            modern("reflector eth0 --hist 28 1 2"),
            ["reflector", "stamp", "reflect", "eth0", "--hist=28,1,2"]
        );
        assert_eq!(
            modern("fathom stamp send eth0 --hist 28 1 2"),
            ["fathom", "stamp", "send", "eth0", "--hist=28,1,2"]
        );
    }

    #[test]
    fn other_commands_keep_their_arguments() {
        assert_eq!(modern("fathom flows --hist 28"), ["fathom", "flows", "--hist", "28"]);
    }

    #[test]
    fn a_mangled_value_is_a_usage_problem() {
        let failure =
            modernise(["sender", "eth0", "--bins=%!d(float64=30)"].map(Into::into).into())
                .unwrap_err();
        assert_eq!(failure.code(), 64);
    }
}
