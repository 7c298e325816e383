//! A measurement as tables for people.

use std::io::{self, Write};

use flow::document::{Document, FlowRow, FoldedRow, HookRow};

/// Writes hooks, the largest flows, what has no flow and the audit.
pub(crate) fn write(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    head(document, out)?;
    hooks(&document.hooks, out)?;
    flows(&document.flows, out)?;
    folded(&document.folded, out)?;
    audit(document, out)
}

/// Columns as wide as their widest cell; numbers to the right.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    heads: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

/// The side of a column at which its cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(crate) const fn new(heads: [(&'static str, Align); N]) -> Self {
        Self { heads, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    /// Writes all of it.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let heads = self.heads.map(|(head, _)| head.to_owned());
        let mut widths = heads.each_ref().map(|head| head.chars().count());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in std::iter::once(&heads).chain(&self.rows) {
            writeln!(out, "{}", self.line(row, &widths).trim_end())?;
        }
        Ok(())
    }

    fn line(&self, row: &[String; N], widths: &[usize; N]) -> String {
        let cells = row.iter().zip(widths).zip(&self.heads);
        let padded = cells.map(|((cell, width), (_, align))| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        padded.collect::<Vec<_>>().join("  ")
    }
}

/// Names come from outside; what could steer a terminal is replaced.
fn printable(cell: &str) -> String {
    cell.chars().map(|sign| if sign.is_control() { '\u{fffd}' } else { sign }).collect()
}

fn head(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    let seconds = document.window.duration_ns as f64 / 1e9;
    let host = &document.host;
    writeln!(
        out,
        "{} ({}, {}), {seconds:.3} s from {}",
        printable(&host.node),
        host.kernel,
        host.attach,
        document.window.ready_at
    )?;
    for (name, sum) in [("sent", document.totals.tx), ("received", document.totals.rx)] {
        writeln!(out, "{name}: {} packets, {} bytes", sum.packets, sum.bytes)?;
    }
    Ok(())
}

fn hooks(rows: &[HookRow], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new([
        ("EDGE", Align::Left),
        ("DIRECTION", Align::Left),
        ("INTERFACE", Align::Left),
        ("HOOK", Align::Left),
        ("PACKETS", Align::Right),
        ("BYTES", Align::Right),
        ("DRIFT", Align::Right),
    ]);
    for hook in rows {
        table.row([
            hook.edge.clone(),
            hook.direction.to_owned(),
            hook.interface.clone(),
            format!("{} {}", hook.place, hook.hook),
            hook.packets.to_string(),
            hook.bytes.to_string(),
            hook.drift_packets.map_or_else(|| "unknown".to_owned(), |drift| drift.to_string()),
        ]);
    }
    writeln!(out, "\nHooks")?;
    table.write(out)
}

fn flows(rows: &[FlowRow], out: &mut dyn Write) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "\nNo flows");
    }
    let mut table = Table::new([
        ("EDGE", Align::Left),
        ("DIRECTION", Align::Left),
        ("PROTOCOL", Align::Left),
        ("SOURCE", Align::Left),
        ("DESTINATION", Align::Left),
        ("PACKETS", Align::Right),
        ("BYTES", Align::Right),
    ]);
    for flow in rows.iter().take(SHOWN) {
        let protocol = flow.protocol;
        table.row([
            flow.edge.clone(),
            flow.direction.to_owned(),
            protocol.name().map_or_else(|| protocol.0.to_string(), str::to_owned),
            end(flow.src, flow.src_port),
            end(flow.dst, flow.dst_port),
            flow.packets.to_string(),
            flow.bytes.to_string(),
        ]);
    }
    match rows.len() {
        all @ ..=SHOWN => writeln!(out, "\nFlows ({all})")?,
        all => writeln!(out, "\nFlows (the largest {SHOWN} of {all}; -o json has all)")?,
    }
    table.write(out)
}

fn end(address: std::net::IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

fn folded(rows: &[FoldedRow], out: &mut dyn Write) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([
        ("EDGE", Align::Left),
        ("DIRECTION", Align::Left),
        ("CLASS", Align::Left),
        ("PACKETS", Align::Right),
        ("BYTES", Align::Right),
    ]);
    for row in rows {
        table.row([
            row.edge.clone(),
            row.direction.to_owned(),
            row.class.to_owned(),
            row.packets.to_string(),
            row.bytes.to_string(),
        ]);
    }
    writeln!(out, "\nCounted without a flow")?;
    table.write(out)
}

fn audit(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    let audit = &document.audit;
    let (packets, bytes) = (audit.flow_law_packets, audit.flow_law_bytes);
    writeln!(out, "\nAudit")?;
    writeln!(out, "unaccounted for: {packets} packets, {bytes} bytes")?;
    writeln!(out, "interfaces:      {}", audit.interface_law)?;
    writeln!(out, "early drains:    {}", audit.early_drains)?;
    writeln!(out, "lost notices:    {}", audit.lost_events)?;
    if !audit.notes.is_empty() {
        writeln!(out, "notes:           {}", audit.notes.join(", "))?;
    }
    Ok(())
}

/// A screenful.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests;
