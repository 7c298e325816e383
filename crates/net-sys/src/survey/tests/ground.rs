//! Namespaces in directories of the test's own, and a survey that is followed.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tempfile::TempDir;
use testkit::Place;

use crate::netns::Netns;
use crate::survey::{Change, Crossing, Key, Survey};
use crate::testing::{PATIENCE, with_private_mounts};

/// A node's namespace, and a directory for those of its pods that nobody else sees.
pub(super) struct Ground {
    /// Namespaces that the survey is told of.
    pub(super) pods: TempDir,
    /// Namespaces that it is not told of.
    hidden: TempDir,
}

impl Ground {
    /// Runs a test on new ground.
    pub(super) fn with(test: impl FnOnce(&Self) + Send) {
        with_private_mounts(|| {
            let ground =
                Self { pods: tempfile::tempdir().unwrap(), hidden: tempfile::tempdir().unwrap() };
            make(ground.node().path());
            test(&ground);
        });
    }

    pub(super) fn node(&self) -> Place {
        Place::at(self.hidden.path().join("node"))
    }

    /// Makes a namespace whose file the survey can see.
    pub(super) fn pod(&self, name: &str) -> Place {
        let place = Place::at(self.pods.path().join(name));
        make(place.path());
        place
    }

    /// Makes a namespace whose file the survey cannot see.
    pub(super) fn hidden_pod(&self, name: &str) -> Place {
        let place = Place::at(self.hidden.path().join(name));
        make(place.path());
        place
    }

    /// Gives a namespace a file that the survey can see.
    pub(super) fn show(&self, place: &Place, name: &str) -> PathBuf {
        let path = self.pods.path().join(name);
        fs::write(&path, "").unwrap();
        mount_bind(place.path(), &path).unwrap();
        path
    }

    pub(super) fn survey(&self) -> Survey {
        let directories = [self.pods.path().to_owned()];
        let node = Netns::open(self.node().path()).unwrap();
        node.within(|| Survey::open(&directories)).unwrap().unwrap()
    }

    /// A survey that has listed what is there, and its follower.
    pub(super) fn follow(&self) -> Follower {
        Follower::new(self.survey())
    }

    /// Runs `ip` on the node, words separated by blanks.
    pub(super) fn ip(&self, words: &str) {
        ip(&self.node(), words);
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for directory in [&self.pods, &self.hidden] {
            for entry in fs::read_dir(directory.path()).unwrap() {
                unmount(entry.unwrap().path(), UnmountFlags::DETACH).ok();
            }
        }
    }
}

/// Runs `ip` in a namespace, words separated by blanks.
pub(super) fn ip(place: &Place, words: &str) {
    place.ip(words.split_whitespace()).unwrap();
}

/// Takes the file of a namespace away.
pub(super) fn remove(path: &Path) {
    unmount(path, UnmountFlags::DETACH).unwrap();
    fs::remove_file(path).unwrap();
}

/// Does what a container runtime does: a file first, the namespace over it later.
fn make(path: &Path) {
    fs::write(path, "").unwrap();
    thread::scope(|scope| {
        let maker = scope.spawn(|| {
            // SAFETY: only the network namespace is left; the table of descriptors stays shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
            mount_bind("/proc/thread-self/ns/net", path).unwrap();
        });
        maker.join().unwrap();
    });
}

/// What a caller of a survey would know.
pub(super) struct Follower {
    pub(super) survey: Survey,
    pub(super) known: BTreeMap<Key, Crossing>,
    /// How often each key appeared and vanished.
    pub(super) appeared: HashMap<Key, u32>,
    pub(super) vanished: HashMap<Key, u32>,
    /// Time from the message to the caller, for each appearance.
    pub(super) lags: Vec<Duration>,
}

impl Follower {
    pub(super) fn new(survey: Survey) -> Self {
        let mut follower = Self {
            survey,
            known: BTreeMap::new(),
            appeared: HashMap::new(),
            vanished: HashMap::new(),
            lags: Vec::new(),
        };
        follower.scan();
        follower
    }

    pub(super) fn scan(&mut self) {
        let crossings = self.survey.scan().unwrap();
        self.known = crossings.into_iter().map(|c| (c.key, c)).collect();
    }

    /// Follows the survey until `condition` holds; what it lost makes the test fail.
    pub(super) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what}: not in time; known: {:#?}", self.known);
            for change in self.survey.wait(Duration::from_millis(100)).unwrap() {
                self.apply(change);
            }
        }
    }

    /// The crossing whose device in the pod has this name.
    pub(super) fn of_pod(&self, name: &str) -> Option<&Crossing> {
        let mut known = self.known.values();
        known.find(|crossing| crossing.pod.as_ref().is_some_and(|pod| pod.name == name))
    }

    /// The crossing whose device here has this name.
    pub(super) fn of_host(&self, name: &str) -> Option<&Crossing> {
        let mut known = self.known.values();
        known.find(|crossing| crossing.host.as_ref().is_some_and(|host| host.name == name))
    }

    /// Waits until everything is known of the pair with these ends, and returns it.
    pub(super) fn whole(&mut self, host: &str, pod: &str) -> Crossing {
        self.until(host, |follower| {
            follower.of_host(host).is_some_and(|crossing| {
                crossing.namespace.is_some() && crossing.pod.as_ref().is_some_and(|p| p.name == pod)
            })
        });
        self.of_host(host).unwrap().clone()
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Appeared(crossing) => {
                self.lags.push(crossing.noticed.elapsed());
                *self.appeared.entry(crossing.key).or_default() += 1;
                let before = self.known.insert(crossing.key, *crossing);
                assert_eq!(before, None, "it was there already");
            }
            Change::Changed(crossing) => {
                let before = self.known.insert(crossing.key, *crossing);
                assert!(before.is_some(), "it was not there");
            }
            Change::Vanished(key) => {
                *self.vanished.entry(key).or_default() += 1;
                assert!(self.known.remove(&key).is_some(), "{key:?} was not there");
            }
            Change::Resync => panic!("events were lost"),
        }
    }
}
