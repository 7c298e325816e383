//! Telling a thread that waits for packets to end, or to show what it knows.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use serde_json::Value;
use stamp_proto::reflector::SessionKey;
use tokio::sync::oneshot;

use crate::error::Error;

/// What a service can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything about the targets.
    Summary,
    /// The last seconds of a target, so many.
    Series(String, u32),
    /// Everything about the reflector but its sessions.
    Reflector,
    /// Sessions of the reflector behind one, at most so many.
    Sessions(Option<SessionKey>, usize),
    /// Where other clocks stand.
    Offsets,
    /// This host's clock.
    Clock,
}

#[derive(Debug)]
pub(crate) enum Command {
    Stop,
    Reload,
    Show(Part, oneshot::Sender<Value>),
}

/// Controls of a service, from any thread; cheap to clone.
#[derive(Debug, Clone)]
pub struct Controls {
    sender: SyncSender<Command>,
    event: Arc<OwnedFd>,
}

/// The other end of [`Controls`].
#[derive(Debug)]
pub(crate) struct Commands {
    receiver: Receiver<Command>,
    event: Arc<OwnedFd>,
    controls: Controls,
}

impl Controls {
    /// Ends the service in good order.
    pub fn stop(&self) {
        self.send(Command::Stop);
    }

    /// Has it read its key files again.
    pub fn reload(&self) {
        self.send(Command::Reload);
    }

    /// Asks for a document; none comes when the service is over or has too much to do.
    pub(crate) fn show(&self, part: Part) -> oneshot::Receiver<Value> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Show(part, reply));
        answer
    }

    fn send(&self, command: Command) {
        // A service that is over has stopped, and shows nothing any more.
        drop(self.sender.try_send(command));
        // The only failure is a full counter, and then the thread wakes up anyway.
        write(&self.event, &1_u64.to_ne_bytes()).ok();
    }
}

impl Commands {
    /// A service's end, and controls to hand out.
    pub(crate) fn new() -> Result<Self, Error> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::Socket { action: "making an event", source: errno.into() })?;
        let event = Arc::new(event);
        let (sender, receiver) = sync_channel(WAITING);
        let controls = Controls { sender, event: Arc::clone(&event) };
        Ok(Self { receiver, event, controls })
    }

    pub(crate) fn controls(&self) -> Controls {
        self.controls.clone()
    }

    /// The next command, if there is one.
    pub(crate) fn next(&self) -> Option<Command> {
        let command = self.receiver.try_recv().ok();
        if command.is_none() {
            // Nothing is left that it could have told of.
            read(&self.event, &mut [0; 8]).ok();
        }
        command.or_else(|| self.receiver.try_recv().ok())
    }
}

impl AsFd for Commands {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// More requests than this at once are turned away.
const WAITING: usize = 64;
