use std::fs;
use std::time::Instant;

use super::*;
use crate::proc::Command;

const SOON: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    !stat.contains(") Z ")
}

fn two_sleepers() -> (Process, u32) {
    let mut process = shell("sleep 300 & echo $!; wait").spawn().unwrap();
    process.wait_for_stdout("\n", SOON).unwrap();
    let grandchild = process.stdout().trim().parse().unwrap();
    assert!(is_running(grandchild));
    (process, grandchild)
}

#[test]
fn drop_takes_the_child_and_what_it_started() {
    let (process, grandchild) = two_sleepers();
    let child = process.id();
    drop(process);
    assert!(!Path::new(&format!("/proc/{child}")).exists());
    wait_until("end of the grandchild", SOON, || !is_running(grandchild)).unwrap();
}

#[test]
fn a_panic_takes_them_too() {
    let (process, grandchild) = two_sleepers();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _held = process;
        panic!("a failing test");
    }));
    assert!(caught.is_err());
    wait_until("end of the grandchild", SOON, || !is_running(grandchild)).unwrap();
}

#[test]
fn a_child_that_ends_takes_what_it_started() {
    let mut process = shell("sleep 300 & echo $!").spawn().unwrap();
    process.wait(SOON).unwrap();
    process.wait_for_stdout("\n", SOON).unwrap();
    let grandchild = process.stdout().trim().parse().unwrap();
    wait_until("end of the grandchild", SOON, || !is_running(grandchild)).unwrap();
}

#[test]
fn its_scratch_directory_goes_with_it() {
    let process = shell("echo hello").spawn().unwrap();
    let path = process.stdout_path().to_owned();
    assert!(path.exists());
    drop(process);
    assert!(!path.parent().unwrap().exists());
}

#[test]
fn one_that_is_late_is_killed_in_time() {
    let began = Instant::now();
    let error = shell("echo busy >&2; sleep 300").run(Duration::from_millis(300)).unwrap_err();
    assert!(began.elapsed() < SOON);
    assert!(matches!(&error, ProcessError::Deadline { stderr, .. } if stderr == "busy"), "{error}");
}

#[test]
fn failure_tells_command_status_and_words() {
    let error = shell("echo broken >&2; exit 3").succeed(SOON).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exit 3` ended with exit status: 3: broken"), "{text}");
}

#[test]
fn missing_rights_come_with_the_remedy() {
    let error = shell("echo 'RTNETLINK answers: Operation not permitted' >&2; exit 2")
        .succeed(SOON)
        .unwrap_err();
    assert!(error.to_string().ends_with("CAP_NET_ADMIN and CAP_SYS_ADMIN"), "{error}");
}

#[test]
fn a_ready_file_is_waited_for() {
    let scratch = tempfile::tempdir().unwrap();
    let ready = scratch.path().join("ready");
    let mut process =
        shell("touch \"$READY\"; exec sleep 300").env("READY", &ready).spawn().unwrap();
    process.wait_for_file(&ready, SOON).unwrap();
    assert!(process.status().unwrap().is_none());
}

#[test]
fn one_that_ends_early_is_not_waited_for_until_the_deadline() {
    let mut process = shell("exit 7").spawn().unwrap();
    let error = process.wait_for_file(Path::new("/nonexistent"), SOON).unwrap_err();
    assert!(matches!(error, ProcessError::Early { status, .. } if status.code() == Some(7)));
}

#[test]
fn the_last_words_before_the_end_still_count_as_ready() {
    let mut process = shell("echo ready").spawn().unwrap();
    process.wait(SOON).unwrap();
    process.wait_for_stdout("ready", SOON).unwrap();
}

#[test]
fn stop_lets_the_child_say_goodbye() {
    let mut process = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
        .spawn()
        .unwrap();
    process.wait_for_stdout("up", SOON).unwrap();
    let finished = process.stop(SOON).unwrap().success().unwrap();
    assert_eq!(finished.text(), "up\nbye\n");
}

#[test]
fn output_beyond_the_limit_is_an_error_not_a_short_answer() {
    let error = shell("head -c 5000 /dev/zero").output_limit(4000).run(SOON).unwrap_err();
    assert!(matches!(error, ProcessError::TooMuchOutput { excess: 1000, .. }), "{error}");
}

#[test]
fn a_child_that_works_is_not_asleep() {
    let sleeper = Command::new("sleep").arg("300").spawn().unwrap();
    wait_until("sleep", SOON, || sleeper.is_asleep()).unwrap();
    let worker = shell("while :; do :; done").spawn().unwrap();
    wait_until("work", SOON, || !worker.is_asleep()).unwrap();
}

#[test]
fn a_signal_after_the_end_reaches_nobody() {
    let mut process = shell("exit 0").spawn().unwrap();
    process.wait(SOON).unwrap();
    assert!(matches!(process.signal(Signal::KILL), Err(ProcessError::Lost { .. })));
}

#[test]
fn json_that_is_none_names_the_command() {
    let finished = shell("echo '{'").succeed(SOON).unwrap();
    let error = finished.json::<serde_json::Value>().unwrap_err();
    assert!(error.to_string().contains("sh -c"), "{error}");
}
