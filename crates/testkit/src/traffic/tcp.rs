//! TCP: one long stream, or many short connections.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::pace::{Course, GRACE, POLL, Pacer};

/// What client and server do with a connection.
pub(super) trait Exchange: Send + Sync + 'static {
    /// The client's side of the whole load.
    fn ask(&self, target: SocketAddr, course: &Course) -> io::Result<()>;

    /// The server's side of one connection.
    fn answer(&self, stream: &mut TcpStream, course: &Course) -> io::Result<()>;
}

/// One connection, one direction.
#[derive(Debug)]
pub(super) struct Bulk {
    pub(super) rate: Option<u64>,
    pub(super) limit: Option<u64>,
}

impl Exchange for Bulk {
    fn ask(&self, target: SocketAddr, course: &Course) -> io::Result<()> {
        let mut stream = connect(target)?;
        let mut pacer = Pacer::new(self.rate);
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let size = usize::try_from(left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
            if !pacer.admit(size as u64, course) {
                break;
            }
            let written = write_some(&mut stream, PIECE.get(..size).unwrap_or(&PIECE), course)?;
            course.client.sent(written);
            left -= written as u64;
        }
        stream.shutdown(Shutdown::Write)?;
        course.client.sent_whole();
        // The server closes only when it has read everything.
        read_all(&mut stream, course, |_| {}).map(drop)
    }

    fn answer(&self, stream: &mut TcpStream, course: &Course) -> io::Result<()> {
        read_all(stream, course, |bytes| course.server.received(bytes))?;
        course.server.received_whole();
        Ok(())
    }
}

/// Many connections, a question and an answer each.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) question: usize,
    pub(super) answer: usize,
    pub(super) rate: Option<u64>,
    pub(super) limit: Option<u64>,
}

impl Exchange for Requests {
    fn ask(&self, target: SocketAddr, course: &Course) -> io::Result<()> {
        let mut pacer = Pacer::new(self.rate);
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 && pacer.admit(1, course) {
            let mut stream = connect(target)?;
            write_all(&mut stream, self.question, |bytes| course.client.sent(bytes))?;
            course.client.sent_whole();
            let came = read_all(&mut stream, course, |bytes| course.client.received(bytes))?;
            if came != self.answer as u64 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            course.client.received_whole();
            left -= 1;
        }
        Ok(())
    }

    fn answer(&self, stream: &mut TcpStream, course: &Course) -> io::Result<()> {
        read_exactly(stream, self.question, course)?;
        course.server.received_whole();
        write_all(stream, self.answer, |bytes| course.server.sent(bytes))?;
        course.server.sent_whole();
        // Closing first keeps TIME-WAIT here: the client would run out of ports instead.
        stream.shutdown(Shutdown::Write)?;
        read_all(stream, course, |_| {}).map(drop)
    }
}

/// Takes connections until the client is done and none is waiting.
pub(super) fn serve(
    load: &impl Exchange,
    listener: &TcpListener,
    course: &Course,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    loop {
        // Asked before the look: what was waiting at that moment is still served.
        let last = course.is_client_done();
        match accept(listener, if last { Duration::ZERO } else { POLL })? {
            Some(mut stream) => {
                prepare(&stream)?;
                course.connections.received_whole();
                load.answer(&mut stream, course)?;
            }
            None if last => return Ok(()),
            None => {}
        }
    }
}

fn accept(listener: &TcpListener, within: Duration) -> io::Result<Option<TcpStream>> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(within.subsec_nanos()) };
    match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if is_pause(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, CONNECT)?;
    prepare(&stream)?;
    Ok(stream)
}

/// Blocking, but never longer than the course goes unwatched.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(POLL))?;
    stream.set_write_timeout(Some(POLL))
}

/// Writes what the peer takes; nothing once the course is over.
fn write_some(stream: &mut TcpStream, piece: &[u8], course: &Course) -> io::Result<usize> {
    while !course.is_over() {
        match stream.write(piece) {
            Err(error) if is_pause(&error) => {}
            outcome => return outcome,
        }
    }
    Ok(0)
}

/// Writes a whole message, also when the course ends meanwhile: half a message would be no
/// message.
fn write_all(stream: &mut TcpStream, size: usize, count: impl Fn(usize)) -> io::Result<()> {
    let deadline = Instant::now() + GRACE;
    let mut left = size;
    while left > 0 {
        let piece = PIECE.get(..left.min(PIECE.len())).unwrap_or(&PIECE);
        match stream.write(piece) {
            Ok(written) => {
                count(written);
                left -= written;
            }
            Err(error) if is_pause(&error) && Instant::now() < deadline => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_exactly(stream: &mut TcpStream, size: usize, course: &Course) -> io::Result<()> {
    let mut buffer = vec![0; PIECE.len()];
    let mut patience = Patience::default();
    let mut left = size;
    while left > 0 {
        let most = left.min(buffer.len());
        match stream.read(buffer.get_mut(..most).unwrap_or_default()) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                course.server.received(count);
                left -= count;
                patience.renew();
            }
            Err(error) if is_pause(&error) => patience.check(course)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads to the end of the stream, and gives up only when nothing comes long after the course.
fn read_all(stream: &mut TcpStream, course: &Course, count: impl Fn(usize)) -> io::Result<u64> {
    let mut buffer = vec![0; PIECE.len()];
    let mut patience = Patience::default();
    let mut total = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(bytes) => {
                count(bytes);
                total += bytes as u64;
                patience.renew();
            }
            Err(error) if is_pause(&error) => patience.check(course)?,
            Err(error) => return Err(error),
        }
    }
}

/// Waiting for a peer ends some time after the course has: a dead peer must not hold a thread.
#[derive(Debug, Default)]
struct Patience {
    since: Option<Instant>,
}

impl Patience {
    fn renew(&mut self) {
        self.since = None;
    }

    fn check(&mut self, course: &Course) -> io::Result<()> {
        if !course.is_over() && !course.is_client_done() {
            return Ok(());
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() < GRACE { Ok(()) } else { Err(ErrorKind::TimedOut.into()) }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

const CONNECT: Duration = Duration::from_secs(5);

static PIECE: [u8; 16 * 1024] = [0x5a; 16 * 1024];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_begins_only_when_the_course_is_over() {
        let course = Course::new(Duration::from_secs(60));
        let long_ago = Instant::now().checked_sub(GRACE * 2);
        let mut patience = Patience { since: long_ago };
        assert!(patience.check(&course).is_ok());
        course.stop();
        assert!(patience.check(&course).is_err());
        patience.renew();
        assert!(patience.check(&course).is_ok());
    }
}
