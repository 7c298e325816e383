//! The syntax of `--pod-edge` and `--netns`.

use flow::parse::{NetnsEdge, PodEdge};
use proptest::prelude::Strategy;

use crate::hold;

/// Any text that comes near to an edge.
fn text() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "/",
        ":",
        "=",
        ".",
        "..",
        " ",
        "\t",
        "é",
        "eth0",
        "ns-1",
        "run",
        "fifteen-octets-",
        "x",
        "a-name-of-so-many-octets-that-two-of-it-are-too-many",
    ]);
    proptest::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat())
}

/// As `dev_valid_name` of the kernel has it.
fn is_interface(name: &str) -> bool {
    let letters = name.bytes().all(|octet| !matches!(octet, b'/' | b':' | b'\t'..=b'\r' | b' '));
    letters && !["", ".", ".."].contains(&name) && name.len() < 16
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 63
}

/// `PATH[:IFACE][=NAME]`, sign by sign: path with file, interface, name.
fn netns_slowly(text: &str) -> Option<(String, Option<String>, String)> {
    let (mut path, mut interface, mut name) = (String::new(), None::<String>, None::<String>);
    let file_at = text.rfind('/').map_or(0, |slash| slash + 1);
    for (at, sign) in text.char_indices() {
        match (sign, &mut interface, &mut name) {
            (_, _, Some(name)) => name.push(sign),
            (_, _, None) if at < file_at => path.push(sign),
            ('=', _, None) => name = Some(String::new()),
            (_, Some(interface), None) => interface.push(sign),
            (':', None, None) => interface = Some(String::new()),
            (_, None, None) => path.push(sign),
        }
    }
    let file = path.rsplit('/').next().unwrap_or_default().to_owned();
    let unnamed = match &interface {
        Some(interface) => format!("{file}:{interface}"),
        None => file.clone(),
    };
    let name = name.unwrap_or(unnamed);
    let sound = !file.is_empty() && interface.iter().all(|name| is_interface(name));
    (sound && is_name(&name)).then_some((path, interface, name))
}

/// `IFACE[=NAME]`.
fn pod_slowly(text: &str) -> Option<(String, String)> {
    let (mut interface, mut name) = (String::new(), None::<String>);
    for sign in text.chars() {
        match (sign, &mut name) {
            (_, Some(name)) => name.push(sign),
            ('=', None) => name = Some(String::new()),
            (_, None) => interface.push(sign),
        }
    }
    let name = name.unwrap_or_else(|| interface.clone());
    (is_interface(&interface) && is_name(&name)).then_some((interface, name))
}

#[test]
fn a_namespace_edge_is_read_by_its_grammar_and_printed_so() {
    hold(text(), |text| {
        let read = text.parse::<NetnsEdge>().ok();
        let parts = |edge: &NetnsEdge| {
            let path = edge.path.to_str().unwrap().to_owned();
            (path, edge.interface.clone(), edge.name.clone())
        };
        assert_eq!(read.as_ref().map(parts), netns_slowly(&text));
        if let Some(edge) = read {
            assert_eq!(edge.to_string().parse(), Ok(edge));
        }
    });
}

#[test]
fn a_pod_edge_is_read_by_its_grammar_and_printed_so() {
    hold(text(), |text| {
        let read = text.parse::<PodEdge>().ok();
        let parts = |edge: &PodEdge| (edge.interface.clone(), edge.name.clone());
        assert_eq!(read.as_ref().map(parts), pod_slowly(&text));
        if let Some(edge) = read {
            assert_eq!(edge.to_string().parse(), Ok(edge));
        }
    });
}
