//! Limits: of time, of the requests that are cancelled, of a full disk, of a server's start.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;

use inferometer_os::clock;
use inferometer_sim::{FaultFraction, Server, SimSettings, start};
use inferometer_testkit::{printed, server, stdout};

use super::connections::{manifest, outcome, refused};
use crate::INFEROMETER;

/// A server that answers every request with this fault.
fn faulty(fault: &str) -> Server {
    let kind = inferometer_sim::ALL_FAULTS
        .iter()
        .find(|known| known.name == fault)
        .unwrap()
        .kind;
    start(SimSettings {
        ttft: "2".parse().unwrap(),
        itl: "50".parse().unwrap(),
        faults: vec![FaultFraction {
            kind,
            fraction: if fault == "crlf" { 0.0 } else { 1.0 },
        }],
        ..SimSettings::default()
    })
    .unwrap()
}

#[test]
fn each_time_limit_ends_what_it_limits() {
    for (fault, flag, words) in [
        (
            "stall_before_headers",
            "--first-byte-timeout",
            "no first byte within 0.2 s",
        ),
        ("stall", "--idle-timeout", "no data for 0.2 s"),
        // No fault at all: 8 tokens, 50 ms apart.
        (
            "crlf",
            "--total-timeout",
            "not complete within 0.2 s of the send",
        ),
    ] {
        let server = faulty(fault);
        let folder = tempfile::tempdir().unwrap();
        let output = INFEROMETER.run(folder.path(), &server.url(), &[flag, "0.2"]);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{flag}: {}",
            printed(&output)
        );
        assert!(
            stdout(&output).contains(words),
            "{flag}: {}",
            printed(&output)
        );
        assert_eq!(
            outcome(&manifest(folder.path()), "timeout"),
            20,
            "{flag}: {}",
            printed(&output)
        );
        drop(server.stop());
    }
}

#[test]
fn a_connection_that_is_never_accepted_times_out() {
    // A listener whose queue is full drops connection attempts, so that the client receives no
    // answer at all.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) =
        TcpStream::connect_timeout(&address, std::time::Duration::from_millis(200))
    {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue takes no end");
    }
    let folder = tempfile::tempdir().unwrap();
    let output = INFEROMETER.run(
        folder.path(),
        &format!("http://{address}"),
        &["--connect-timeout", "0.2"],
    );
    refused(
        &output,
        &["no connection within 0.2 s", "Nothing answers"],
        "--source-ip",
    );
}

#[test]
fn the_requested_fraction_of_requests_is_cancelled() {
    let server = server(100.0, 20.0);
    let folder = tempfile::tempdir().unwrap();
    let more = [
        "--request-cancellation-rate",
        "0.5",
        "--request-cancellation-delay",
        "0.05",
    ];
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &[&more[..], &["--num-prompts", "100"]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let manifest = manifest(folder.path());
    let (cancelled, ok) = (outcome(&manifest, "cancelled"), outcome(&manifest, "ok"));
    assert_eq!(cancelled + ok, 100, "{}", printed(&output));
    assert!((30..=70).contains(&cancelled), "{cancelled} of 100");
    server.stop().unwrap();
}

/// A file system of 400 KiB, until dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=400k", "none"])
            .arg(&at)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_loses_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().join("disk")) else {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    };
    let server = server(2.0, 0.2);
    let runs = disk.0.join("runs").display().to_string();
    let more = [
        "--runs-dir",
        &runs,
        "--num-prompts",
        "1000",
        "--random-output-len",
        "100",
    ];
    let output = INFEROMETER.run(folder.path(), &server.url(), &more);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    let told = printed(&output);
    assert!(
        told.contains("No space left on device") && told.contains("requests.parquet"),
        "{told}"
    );
    // Everything that was measured is on the screen.
    assert!(
        told.lines()
            .any(|line| line.starts_with("Successful requests:") && line.contains(" 1000 ")),
        "{told}"
    );
    server.stop().unwrap();
}

#[test]
fn a_server_that_never_gets_ready_leaves_no_run_behind() {
    let server = faulty("http_500");
    let folder = tempfile::tempdir().unwrap();
    let output = INFEROMETER.run(
        folder.path(),
        &server.url(),
        &["--ready-check-timeout-sec", "1"],
    );
    refused(
        &output,
        &["--ready-check-timeout-sec 1", "http_error"],
        "Nothing answers",
    );
    assert_eq!(
        fs::read_dir(folder.path().join("inferometer-runs")).map_or(0, Iterator::count),
        0
    );
    server.stop().unwrap();
}

#[test]
fn the_ready_check_lasts_until_its_deadline() {
    let slow = SimSettings {
        ttft: "20000".parse().unwrap(),
        ..SimSettings::default()
    };
    // A server that fails at once, and an answer that takes longer than the whole check.
    for (server, words) in [
        (faulty("http_500"), "http_error"),
        (start(slow).unwrap(), "not complete by then"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let begin = clock::now();
        let output = INFEROMETER.run(
            folder.path(),
            &server.url(),
            &["--ready-check-timeout-sec", "2"],
        );
        let took = clock::now().since(begin).as_secs_f64();
        refused(
            &output,
            &["--ready-check-timeout-sec 2", words],
            "Nothing answers",
        );
        assert!((2.0..15.0).contains(&took), "{words} after {took} s");
        server.stop().unwrap();
    }
}
