//! Edges as the command line names them.

use std::{fmt, path::PathBuf, str::FromStr};

use super::Refused;

/// A host-side veth and the name of its edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEdge {
    /// The interface, in the namespace the command runs in.
    pub interface: String,
    /// The name of the edge.
    pub name: String,
}

impl FromStr for PodEdge {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let (interface, name) = text.split_once('=').unwrap_or((text, text));
        check_interface(interface)?;
        Ok(Self { interface: interface.to_owned(), name: check_name(name, "IFACE[=NAME]")? })
    }
}

impl fmt::Display for PodEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.interface, self.name)
    }
}

/// A network namespace, the interface in it and the name of the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetnsEdge {
    /// A path, or a name under /run/netns.
    pub path: PathBuf,
    /// The interface; found by rule where none is named.
    pub interface: Option<String>,
    /// The name of the edge.
    pub name: String,
}

impl FromStr for NetnsEdge {
    type Err = Refused;

    /// Signs in front of the last slash belong to the path.
    fn from_str(text: &str) -> Result<Self, Refused> {
        const FORM: &str = "PATH[:IFACE][=NAME]";
        let tail_at = text.rfind('/').map_or(0, |slash| slash + 1);
        let (folder, tail) = text.split_at(tail_at);
        let (place, name) = match tail.split_once('=') {
            Some((place, name)) => (place, Some(name)),
            None => (tail, None),
        };
        let (file, interface) = match place.split_once(':') {
            Some((file, interface)) => (file, Some(interface)),
            None => (place, None),
        };
        if file.is_empty() {
            return Err(Refused::Form(FORM));
        }
        interface.map(check_interface).transpose()?;
        Ok(Self {
            path: PathBuf::from(format!("{folder}{file}")),
            interface: interface.map(str::to_owned),
            name: check_name(name.unwrap_or(place), FORM)?,
        })
    }
}

impl fmt::Display for NetnsEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(interface) = &self.interface {
            write!(f, ":{interface}")?;
        }
        write!(f, "={}", self.name)
    }
}

pub(super) fn check_name(name: &str, form: &'static str) -> Result<String, Refused> {
    if name.is_empty() {
        return Err(Refused::Form(form));
    }
    if name.len() > flow_model::edge::Text::MAX {
        return Err(Refused::LongName(name.len()));
    }
    Ok(name.to_owned())
}

/// As the kernel's `dev_valid_name`.
fn check_interface(name: &str) -> Result<(), Refused> {
    let valid = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_ascii_whitespace());
    if valid { Ok(()) } else { Err(Refused::Interface) }
}
