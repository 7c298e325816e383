//! `fathom doctor`: what this host can do, told before anything runs.
//!
//! Facts come from the kernel and from files below a root that tests can choose; what
//! follows from them is decided apart. Nothing is changed: what has to be tried is tried
//! privately and gone at once.

use std::io::{self, IsTerminal, Write};

use anyhow::anyhow;
use flow::Output;

mod finding;
mod kernel;
mod kubernetes;
mod rights;
mod stamp;
mod surroundings;
mod trial;

use self::finding::{Finding, State};
use crate::args::{Doctor, address};
use crate::failure::Failure;
use crate::output;
use crate::settings::Input;

/// Examines, prints, and fails if something needed is missing.
pub(crate) fn run(input: &Input, asked: &Doctor) -> Result<(), Failure> {
    let findings = examine(asked);
    match asked.output {
        Output::Json => output::print_json(&findings)?,
        Output::Table => {
            let plain = input.variable("NO_COLOR").is_some() || !io::stdout().is_terminal();
            output::print(|out| write(&findings, !plain, out))?;
        }
    }
    let missing = findings.iter().filter(|finding| finding.state == State::Missing);
    let missing: Vec<_> = missing.map(|finding| finding.check).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::unavailable(anyhow!("needed and missing: {}", missing.join(", "))))
}

fn examine(asked: &Doctor) -> Vec<Finding> {
    let root = &asked.root;
    let mut findings = vec![
        kernel::release(root),
        kernel::types(root),
        kernel::user_namespace(root),
        kernel::processors(root),
        surroundings::pins(&asked.pins.bpf_pin_dir),
    ];
    findings.extend(rights::capabilities(root));
    findings.extend([
        trial::hooks(),
        trial::program(),
        surroundings::clock(),
        stamp::tai_offset(),
        stamp::port(root, stamp_proto::PORT),
        stamp::interfaces(),
        stamp::backend(),
        surroundings::cgroups(root),
        surroundings::namespaces(root),
        surroundings::containerd(root, &asked.containerd),
        kubernetes::credentials(root, asked.kubeconfig.as_deref()),
        kubernetes::reachability(asked),
    ]);
    findings.extend(address(asked.listen).map(surroundings::listener));
    findings
}

fn write(findings: &[Finding], colours: bool, out: &mut dyn Write) -> io::Result<()> {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    for finding in findings {
        let state = finding.state.painted(colours);
        writeln!(out, "{state} {:<width$}  {}", finding.check, finding.found)?;
        for (label, text) in [("lost:  ", &finding.lost), ("remedy:", &finding.remedy)] {
            if let Some(text) = text {
                writeln!(out, "         {:<width$}  {label} {text}", "")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
