//! Maps that outlive the process.

use std::path::PathBuf;

use stamp_bpf::{Error, Sizes, Tables};

use crate::frames::Datagram;
use crate::twin::{Done, Twin, inside, open_request};

/// A directory on bpffs that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(format!("/sys/fs/bpf/stamp-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("bpffs is mounted at /sys/fs/bpf");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("the pins are ours");
    }
}

#[test]
#[ignore = "root: needs bpffs"]
fn pinned_maps_keep_sessions_and_what_the_programs_were_told() {
    let directory = Directory::new("keep");
    inside(|| {
        let twin = Twin::open();
        twin.tables.pin(&directory.0).unwrap();
        assert!(twin.tables.pin(&directory.0).is_err(), "there are pins already");
        let answered = |twin: &Twin| {
            let done = twin.run(&Datagram::v4(&open_request(7, 42)));
            assert!(matches!(done, Done::Replied(_)));
        };
        answered(&twin);
        let reopened = Twin { tables: Tables::open(&directory.0).unwrap(), ..Twin::open() };
        assert_eq!(reopened.tables.sessions().unwrap(), twin.tables.sessions().unwrap());
        let Twin { program, .. } = twin;
        let reopened = Twin { program, ..reopened };
        answered(&reopened);
        assert_eq!(reopened.tables.sessions().unwrap()[0].1.received, 2);
        Tables::unpin(&directory.0).unwrap();
        assert!(Tables::open(&directory.0).is_err());
    });
}

#[test]
#[ignore = "root: needs bpffs"]
fn maps_of_another_shape_are_refused() {
    let directory = Directory::new("other");
    let tables = Tables::create(Sizes::default()).unwrap();
    tables.pin(&directory.0).unwrap();
    let maps = directory.0.join("maps");
    std::fs::rename(maps.join("clock"), maps.join("other")).unwrap();
    std::fs::rename(maps.join("ports"), maps.join("clock")).unwrap();
    assert!(matches!(Tables::open(&directory.0), Err(Error::Foreign { .. })));
}
