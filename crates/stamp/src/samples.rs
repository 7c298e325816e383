//! One line of JSON for each reply.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use stamp_proto::clock::WallTime;
use stamp_proto::loss::Outcome;
use stamp_proto::tlv::Tlv;

use crate::decode::hex;
use crate::error::Error;
use crate::target::Taken;

/// Where lines go.
pub(crate) struct Samples {
    path: PathBuf,
    out: BufWriter<Box<dyn Write + Send>>,
    failed: bool,
}

impl Samples {
    /// Lines to a file, or to standard output for `-`.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        let out: Box<dyn Write + Send> = match path.to_str() {
            Some("-") => Box::new(io::stdout()),
            _ => Box::new(File::create(path).map_err(failed)?),
        };
        Ok(Self { path: path.to_owned(), out: BufWriter::new(out), failed: false })
    }

    /// One line. `area` are the extensions of the reply.
    pub(crate) fn write(
        &mut self,
        target: &str,
        taken: &Taken,
        methods: [&'static str; 2],
        area: &[u8],
    ) {
        let line = Line::of(target, taken, methods, area);
        let written = serde_json::to_writer(&mut self.out, &line).map_err(io::Error::from);
        let written = written.and_then(|()| self.out.write_all(b"\n"));
        self.tell(written);
    }

    pub(crate) fn flush(&mut self) {
        let flushed = self.out.flush();
        self.tell(flushed);
    }

    fn tell(&mut self, result: io::Result<()>) {
        if let (Err(error), false) = (&result, self.failed) {
            self.failed = true;
            tracing::warn!(event = "samples.lost", path = %self.path.display(), %error, "Samples can't be written");
        }
    }
}

impl std::fmt::Debug for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Samples").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Times of day are decimal texts: their nanoseconds are more than a JSON number holds.
#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    target: &'a str,
    seq: u32,
    reflector_seq: u32,
    outcome: &'static str,
    t1: String,
    t2: Option<String>,
    t3: Option<String>,
    t4: String,
    rtt_ns: Option<i64>,
    rtt_gross_ns: i64,
    residence_ns: Option<i64>,
    near_raw_ns: Option<i64>,
    far_raw_ns: Option<i64>,
    near_lower_ns: Option<i64>,
    near_upper_ns: Option<i64>,
    far_lower_ns: Option<i64>,
    far_upper_ns: Option<i64>,
    ttl: Option<u8>,
    dscp: u8,
    ecn: u8,
    t1_method: &'static str,
    t4_method: &'static str,
    epoch: u32,
    trusted: bool,
    tlvs: Vec<TlvLine>,
}

#[derive(Serialize)]
struct TlvLine {
    r#type: u8,
    flags: u8,
    length: usize,
    value: String,
}

impl TlvLine {
    fn of(tlv: Tlv<'_>) -> Self {
        let Tlv { flags, kind, value, .. } = tlv;
        Self { r#type: kind.code(), flags: flags.bits(), length: value.len(), value: hex(value) }
    }
}

impl<'a> Line<'a> {
    fn of(
        target: &'a str,
        (sample, [near, far]): &Taken,
        [t1_method, t4_method]: [&'static str; 2],
        area: &[u8],
    ) -> Self {
        let text = |time: WallTime| time.as_ns().to_string();
        Self {
            schema: "fathom.stamp.sample/1",
            target,
            seq: sample.sequence,
            reflector_seq: sample.reflector_sequence,
            outcome: match sample.outcome {
                Outcome::First => "ok",
                Outcome::Late => "late",
                Outcome::Duplicate => "duplicate",
            },
            t1: text(sample.t1.wall),
            t2: sample.t2.map(text),
            t3: sample.t3.map(text),
            t4: text(sample.t4.wall),
            rtt_ns: sample.roundtrip_ns,
            rtt_gross_ns: sample.roundtrip_gross_ns,
            residence_ns: sample.residence_ns,
            near_raw_ns: near.raw_ns,
            far_raw_ns: far.raw_ns,
            near_lower_ns: near.certain_ns.map(|(low, _)| low),
            near_upper_ns: near.certain_ns.map(|(_, high)| high),
            far_lower_ns: far.certain_ns.map(|(low, _)| low),
            far_upper_ns: far.certain_ns.map(|(_, high)| high),
            ttl: sample.ttl_reverse,
            dscp: sample.traffic_class >> 2,
            ecn: sample.traffic_class & 3,
            t1_method: if sample.stamped { t1_method } else { "userspace" },
            t4_method,
            epoch: sample.t4.epoch,
            trusted: near.unusable.is_none() && far.unusable.is_none(),
            tlvs: stamp_proto::tlv::walk(area).map_while(Result::ok).map(TlvLine::of).collect(),
        }
    }
}
