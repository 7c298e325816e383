//! Dependencies held against `deny.toml`: licences, banned crates, where they come from.
//!
//! The same file serves cargo-deny. This reader exists because cargo-deny takes longer to
//! compile than fathom; it reads the keys that it enforces and leaves out the others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

mod expression;

/// Refuses the lock file if it holds something that `deny.toml` does not permit.
pub(crate) fn check(root: &Path) -> Result<()> {
    let text = fs::read_to_string(root.join("deny.toml")).context("read deny.toml")?;
    let policy: Policy = toml::from_str(&text).context("deny.toml")?;
    let mut packages = BTreeSet::new();
    for target in &policy.graph.targets {
        packages.extend(metadata(root, target)?.packages);
    }
    let problems: Vec<_> = packages.iter().filter_map(|package| policy.problem(package)).collect();
    for problem in &problems {
        println!("{problem}");
    }
    ensure!(
        problems.is_empty(),
        "{} dependencies are not permitted; replace them, or change deny.toml and say why there",
        problems.len()
    );
    println!("{} packages: licences and sources are as deny.toml wants them", packages.len());
    Ok(())
}

/// What the tree of one platform depends on. Others are left out, as their packages need
/// not be on this machine.
fn metadata(root: &Path, target: &str) -> Result<Metadata> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target])
        .current_dir(root)
        .output()
        .context("start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("read what cargo metadata says")
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Policy {
    graph: Graph,
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

impl Policy {
    /// What is wrong with a package, if anything. The workspace itself has no source.
    fn problem(&self, package: &Package) -> Option<String> {
        let Package { name, version, license, source } = package;
        if let Some(ban) = self.bans.deny.iter().find(|ban| ban.name == *name) {
            return Some(format!("{name} {version} is banned: {}", ban.reason));
        }
        let source = source.as_deref()?;
        if !source.starts_with("registry+") {
            return Some(format!("{name} {version} comes from {source}, not from a registry"));
        }
        let Some(license) = license else {
            return Some(format!("{name} {version} states no licence"));
        };
        match expression::permitted(license, |id| self.licenses.allow.contains(id)) {
            Some(true) => None,
            Some(false) => Some(format!("{name} {version} has the licence {license}")),
            None => Some(format!("{name} {version}: {license:?} is not a licence expression")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Package, Policy};

    fn policy() -> Policy {
        let text = "[graph]\ntargets = []\n[sources]\n[licenses]\nallow = ['MIT']\n\
                    [licenses.private]\n[bans]\nwildcards = 'deny'\n\
                    deny = [{ crate = 'bad', reason = 'it is bad' }]\n";
        toml::from_str(text).unwrap()
    }

    fn package(name: &str, license: Option<&str>, source: Option<&str>) -> Package {
        Package {
            name: name.into(),
            version: "1.0.0".into(),
            license: license.map(Into::into),
            source: source.map(Into::into),
        }
    }

    #[test]
    fn a_permitted_package_and_the_workspace_itself_pass() {
        let registry = Some("registry+https://example.org");
        assert_eq!(policy().problem(&package("good", Some("MIT OR GPL-3.0"), registry)), None);
        assert_eq!(policy().problem(&package("own", None, None)), None);
    }

    #[test]
    fn each_rule_tells_its_own_problem() {
        let registry = Some("registry+https://example.org");
        let said = |package| policy().problem(&package).unwrap();
        assert!(said(package("bad", Some("MIT"), registry)).contains("it is bad"));
        assert!(said(package("a", Some("GPL-3.0"), registry)).contains("GPL-3.0"));
        assert!(said(package("a", None, registry)).contains("no licence"));
        assert!(said(package("a", Some("MIT OR"), registry)).contains("not a licence"));
        assert!(said(package("a", Some("MIT"), Some("git+https://a"))).contains("registry"));
    }
}
