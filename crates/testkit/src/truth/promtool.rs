//! What Prometheus itself thinks of a page of metrics.

use crate::namespace::COMMAND_DEADLINE;
use crate::proc::{Command, ProcessError};

/// What `promtool check metrics` finds fault with in `page`, a line each.
pub fn promtool_complaints(page: impl Into<Vec<u8>>) -> Result<Vec<String>, ProcessError> {
    let command = Command::new("promtool").args(["check", "metrics"]);
    let verdict = command.input(page).run(COMMAND_DEADLINE)?;
    let said: Vec<_> = verdict.stderr.lines().map(str::to_owned).collect();
    // Only one that says why it is not content has judged at all.
    if said.is_empty() { verdict.success().map(|_| said) } else { Ok(said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# HELP t_pods_total Pods.\n# TYPE t_pods_total counter\n";

    #[test]
    fn a_page_that_keeps_the_rules_has_no_complaints() {
        let page = format!("{HEAD}t_pods_total 5\n");
        assert_eq!(promtool_complaints(page).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn each_broken_rule_and_a_broken_page_are_told() {
        let nameless = format!("{HEAD}t_pods_total 5\n# TYPE t_count gauge\nt_count 1\n");
        let said = promtool_complaints(nameless).unwrap();
        assert!(said.iter().all(|line| line.starts_with("t_count ")), "{said:?}");
        assert_eq!(said.len(), 2, "no help, and a suffix of histograms: {said:?}");
        assert!(!promtool_complaints("t_pods_total\n").unwrap().is_empty());
    }
}
