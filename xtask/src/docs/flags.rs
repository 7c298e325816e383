//! Flags of a command as a Markdown table.

use clap::{Arg, Command};

/// One row for each flag that the help shows.
pub(super) fn markdown(command: &Command) -> String {
    let mut out = String::from(HEAD);
    for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
        if let Some(row) = row(flag) {
            out.push_str(&row);
        }
    }
    out
}

fn row(flag: &Arg) -> Option<String> {
    let long = flag.get_long()?;
    let env = flag.get_env().map(|env| code(&env.to_string_lossy()));
    let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let (help, told) = split_default(&help);
    Some(format!(
        "| {} | {} | {} | {}{} |\n",
        code(&format!("--{long}{}", value(flag))),
        env.as_deref().unwrap_or(NONE),
        default(flag).or(told).as_deref().unwrap_or(NONE),
        cell(help).replace('<', "&lt;"),
        choices(flag)
    ))
}

fn value(flag: &Arg) -> String {
    if !flag.get_action().takes_values() {
        return String::new();
    }
    let is_optional = flag.get_num_args().is_some_and(|values| values.min_values() == 0);
    if is_optional
        && flag.get_value_names().is_none_or(|names| {
            names.len() == 1 && names[0] == flag.get_id().as_str().to_uppercase()
        })
    {
        return " [true|false]".into();
    }
    flag.get_value_names().map_or_else(String::new, |names| format!(" {}", names.join(" ")))
}

fn default(flag: &Arg) -> Option<String> {
    let values: Vec<_> = flag.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
    (!values.is_empty()).then(|| code(&values.join(",")))
}

/// Where a default depends on the host, the help text tells it in words.
fn split_default(help: &str) -> (&str, Option<String>) {
    help.strip_suffix(']')
        .and_then(|help| help.split_once(" [default: "))
        .map_or((help, None), |(help, told)| (help, Some(cell(told).replace('<', "&lt;"))))
}

fn choices(flag: &Arg) -> String {
    let values = flag.get_possible_values();
    let names: Vec<_> = values.iter().map(|value| code(value.get_name())).collect();
    if names.is_empty() || !flag.get_action().takes_values() {
        return String::new();
    }
    format!(": {}", names.join(", "))
}

fn code(text: &str) -> String {
    format!("`{}`", cell(text))
}

/// A bar would end the cell, also inside of code.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

const HEAD: &str = "| flag | environment | default | meaning |\n|---|---|---|---|\n";
const NONE: &str = "–";

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::{HEAD, markdown};

    #[test]
    fn a_flag_is_a_row() {
        let command = Command::new("test")
            .arg(Arg::new("a").long("a-b").value_name("X|Y").env("T_A").help("Does it"))
            .arg(Arg::new("c").long("c").default_value("1").value_parser(["1", "2"]))
            .arg(Arg::new("e").long("e").help("Where <x> [default: as <y>]"))
            .arg(Arg::new("f").long("f").num_args(0..=1))
            .arg(Arg::new("d").long("d").action(ArgAction::SetTrue).hide(true));
        let expected = "| `--a-b X\\|Y` | `T_A` | – | Does it |\n\
                        | `--c` | – | `1` | : `1`, `2` |\n\
                        | `--e` | – | as &lt;y> | Where &lt;x> |\n\
                        | `--f [true\\|false]` | – | – |  |\n";
        assert_eq!(markdown(&command), format!("{HEAD}{expected}"));
    }
}
