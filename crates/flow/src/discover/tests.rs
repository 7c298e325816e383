//! The thread that surveys devices, from outside.

use std::sync::mpsc::channel;

use testkit::Device;

use super::*;
use crate::{engine::tests::Node, testing::PATIENCE};

#[test]
#[ignore = "root: makes namespaces"]
fn what_is_there_is_answered_and_what_comes_is_told() {
    let node = Node::build();
    node.inside(|| {
        let (sender, commands) = sync_channel(64);
        let (_thread, found) = SurveyThread::start(Vec::new(), sender).unwrap();
        let host: Vec<_> = found.iter().filter_map(|crossing| crossing.host.as_ref()).collect();
        assert_eq!(host.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(), ["host0"]);
        Device::named(node.node.place(), "host0").remove().unwrap();
        let told = commands.recv_timeout(PATIENCE).unwrap();
        let Command::Device(Change::Vanished(key)) = told else { panic!("{told:?}") };
        assert_eq!(key, found[0].key);
    });
}

/// Whoever ends the thread waits for it, and takes no commands meanwhile.
#[test]
#[ignore = "root: makes namespaces"]
fn a_queue_that_nobody_empties_does_not_keep_the_thread_from_its_end() {
    let node = Node::build();
    node.inside(|| {
        let (sender, commands) = sync_channel(1);
        sender.send(Command::Notice).unwrap();
        let (thread, _) = SurveyThread::start(Vec::new(), sender).unwrap();
        Device::named(node.node.place(), "host0").remove().unwrap();
        let (ended, end) = channel();
        thread::spawn(move || {
            drop(thread);
            ended.send(()).unwrap();
        });
        end.recv_timeout(PATIENCE).expect("the thread ends with its guard");
        assert!(matches!(commands.try_recv(), Ok(Command::Notice)));
    });
}
