//! All tests again and again: what goes wrong once in a hundred runs goes wrong here.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Starts rounds until `minutes` have passed. The first failure ends it.
pub(crate) fn run(root: &Path, minutes: u64) -> Result<()> {
    let began = Instant::now();
    let mut round = 0;
    while round == 0 || began.elapsed() < Duration::from_secs(60 * minutes) {
        round += 1;
        println!("round {round}, after {} s", began.elapsed().as_secs());
        let status = Command::new("make")
            .arg("test-all")
            .current_dir(root)
            .status()
            .context("start make")?;
        ensure!(status.success(), "round {round} failed");
    }
    println!("{round} rounds passed in {} s", began.elapsed().as_secs());
    Ok(())
}
