//! Several roles in one process, each given as the line of its own command.

use std::fmt;

use clap::{Args, Parser};

use super::{Reflect, Send, expand};

/// Settings of `fathom stamp run`.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Run {
    /// A reflector: the arguments of `fathom stamp reflect`, in one word of the shell
    #[arg(long, value_name = "ARGS")]
    pub reflect: Vec<String>,
    /// A sender: the arguments of `fathom stamp send`, in one word of the shell
    #[arg(long, value_name = "ARGS")]
    pub send: Vec<String>,
}

/// What the roles are told.
#[derive(Debug, Clone)]
pub struct Roles {
    /// The senders, in the order in which they were given.
    pub senders: Vec<Send>,
    /// The reflectors, likewise.
    pub reflectors: Vec<Reflect>,
}

/// Everything that is wrong with the roles.
#[derive(Debug)]
pub struct RolesError(Vec<(String, String)>);

impl Run {
    /// Reads each role as its own command would.
    ///
    /// # Errors
    ///
    /// When any of them is wrong; all problems are told, each with its role.
    pub fn roles(&self) -> Result<Roles, RolesError> {
        let mut problems = Vec::new();
        let mut reflectors = Vec::new();
        let mut senders = Vec::new();
        for (n, line) in self.reflect.iter().enumerate() {
            match read::<ReflectLine>(line) {
                Ok(line) => reflectors.push(line.settings),
                Err(why) => problems.push((format!("--reflect {}", n + 1), why)),
            }
        }
        for (n, line) in self.send.iter().enumerate() {
            match read::<SendLine>(line) {
                Ok(line) => senders.push(line.settings),
                Err(why) => problems.push((format!("--send {}", n + 1), why)),
            }
        }
        if self.reflect.is_empty() && self.send.is_empty() {
            problems
                .push(("--reflect and --send".into(), "there is no role to play; name one".into()));
        }
        if problems.is_empty() {
            Ok(Roles { senders, reflectors })
        } else {
            Err(RolesError(problems))
        }
    }
}

impl fmt::Display for RolesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(|(role, why)| format!("{role}: {why}")).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for RolesError {}

#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
struct SendLine {
    #[command(flatten)]
    settings: Send,
}

#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
struct ReflectLine {
    #[command(flatten)]
    settings: Reflect,
}

fn read<L: Parser>(line: &str) -> Result<L, String> {
    let words = shlex::split(line).ok_or("a quotation mark is missing")?;
    let words = expand(words.into_iter().map(Into::into)).map_err(|mangled| mangled.to_string())?;
    L::try_parse_from(words).map_err(|error| told(&error))
}

/// What clap has to say, without the usage of a command that was not called.
fn told(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let missing = text.lines().skip(1).take_while(|line| line.starts_with("  ")).map(str::trim);
    let first = first.strip_prefix("error: ").unwrap_or(first);
    std::iter::once(first).chain(missing).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::Run;

    fn run(reflect: &[&str], send: &[&str]) -> Run {
        let own = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        Run { reflect: own(reflect), send: own(send) }
    }

    #[test]
    fn each_role_reads_its_line_as_its_command_would() {
        let roles = run(
            &["eth0 -p=1000 --hist 28 1 9"],
            &["eth0 10.0.0.1 -c=5 -i=0.5", "eth1 '10.0.0.2' --histpath \"/a b\""],
        );
        let roles = roles.roles().unwrap();
        assert_eq!((roles.reflectors.len(), roles.senders.len()), (1, 2));
        assert_eq!(roles.reflectors[0].port, [1_000]);
        assert_eq!(roles.senders[0].count, 5);
        assert_eq!(roles.senders[1].common.histpath.as_deref(), Some("/a b".as_ref()));
    }

    #[test]
    fn all_problems_are_told_with_their_role() {
        let wrong = run(
            &["eth0 -p 0", "eth0 \"open"],
            &["eth0 10.0.0.1 --bins=%!d(float64=30)", "eth0", "eth0 10.0.0.1 -i x"],
        );
        let told = wrong.roles().unwrap_err().to_string();
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 5, "{told}");
        for (line, words) in lines.iter().zip([
            ["--reflect 1: ", "'0'"],
            ["--reflect 2: ", "quotation mark"],
            ["--send 1: ", "mangled by a chart template"],
            ["--send 2: ", "TARGET"],
            ["--send 3: ", "is no time"],
        ]) {
            assert!(words.iter().all(|word| line.contains(word)), "{line}");
        }
    }

    #[test]
    fn a_process_without_a_role_has_nothing_to_do() {
        assert!(run(&[], &[]).roles().unwrap_err().to_string().contains("no role"));
    }
}
