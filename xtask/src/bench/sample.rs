//! What criterion leaves behind: one folder for each benchmark.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::tree;

/// One benchmark.
#[derive(Debug, Serialize)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) minimum_ns: f64,
    pub(super) median_ns: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) elements: Option<u64>,
}

impl Sample {
    fn of(about: About, times: &Times) -> Option<Self> {
        let runs = times.times.iter().zip(&times.iters);
        let mut each: Vec<_> = runs.map(|(time, iterations)| time / iterations).collect();
        each.sort_by(f64::total_cmp);
        Some(Self {
            name: about.full_id,
            minimum_ns: *each.first()?,
            median_ns: *each.get(each.len() / 2)?,
            elements: about.throughput.and_then(|throughput| throughput.elements),
        })
    }

    /// Elements in a second, at the median.
    pub(super) fn per_second(&self) -> Option<f64> {
        Some(self.elements? as f64 * 1e9 / self.median_ns)
    }
}

#[derive(Deserialize)]
struct About {
    full_id: String,
    throughput: Option<Throughput>,
}

#[derive(Deserialize)]
struct Throughput {
    #[serde(rename = "Elements")]
    elements: Option<u64>,
}

#[derive(Deserialize)]
struct Times {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// What was written below the build folder since `began`; older results are of other code.
pub(super) fn since(target: &Path, began: SystemTime) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for path in tree::files(&target.join("criterion"), &["sample.json"])? {
        let fresh = fs::metadata(&path)?.modified()? >= began;
        let Some(folder) = path.parent().filter(|folder| fresh && folder.ends_with("new")) else {
            continue;
        };
        let about = read(&folder.join("benchmark.json"))?;
        samples.extend(Sample::of(about, &read(&path)?));
    }
    Ok(samples)
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T> {
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::since;

    #[test]
    fn only_fresh_results_are_told() {
        let target = tempfile::tempdir().unwrap();
        for place in ["new", "base"] {
            let folder = target.path().join("criterion/drain/a").join(place);
            fs::create_dir_all(&folder).unwrap();
            let about = r#"{"full_id":"drain/a","throughput":{"Elements":10}}"#;
            fs::write(folder.join("benchmark.json"), about).unwrap();
            let times = r#"{"iters":[1.0,2.0,4.0],"times":[30.0,40.0,40.0]}"#;
            fs::write(folder.join("sample.json"), times).unwrap();
        }
        let hour = Duration::from_secs(3600);
        let samples = since(target.path(), SystemTime::now() - hour).unwrap();
        assert_eq!(samples.len(), 1, "{samples:?}");
        assert_eq!((samples[0].minimum_ns, samples[0].median_ns), (10.0, 20.0));
        assert_eq!(samples[0].per_second(), Some(5e8));
        assert!(since(target.path(), SystemTime::now() + hour).unwrap().is_empty());
    }
}
