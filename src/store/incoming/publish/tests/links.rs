//! Symbolic links in Incoming lead nowhere.

use super::*;

#[test]
fn no_planted_link_leads_out_of_incoming() {
    use std::os::unix::fs::symlink;
    let rig = rig();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("victim"), "untouched").unwrap();
    symlink(outside.path(), rig.path("out")).unwrap();
    std::fs::create_dir(rig.path("d")).unwrap();
    symlink("../out", rig.path("d/up")).unwrap();
    symlink(outside.path().join("victim"), rig.path("leaf")).unwrap();
    symlink(outside.path().join("made"), rig.path("dangling")).unwrap();
    for policy in [OnConflict::Rename, OnConflict::Overwrite, OnConflict::Skip] {
        let through = |text: &str, n| {
            [
                file(n, &format!("{text}/victim"), "evil"),
                folder(n + 1, &format!("{text}/f")),
                link(n + 2, &format!("{text}/l"), "x"),
            ]
        };
        for arrived in through("out", 1).into_iter().chain(through("d/up", 10)) {
            assert_eq!(refused(&rig.one(policy, arrived)), Refusal::InTheWay);
        }
        for arrived in [folder(20, "out"), folder(21, "leaf")] {
            assert_eq!(refused(&rig.one(policy, arrived)), Refusal::InTheWay);
        }
        // At the link itself the file gets another name, replaces the link or is refused; it is
        // never written through the link.
        for (n, at) in [(30, "leaf"), (31, "dangling"), (32, "out")] {
            rig.one(policy, file(n, at, "untouched"));
            if policy == OnConflict::Overwrite {
                assert!(rig.path(at).symlink_metadata().unwrap().is_file());
            }
        }
    }
    assert_eq!(read(&outside.path().join("victim")), "untouched");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn a_link_swapped_in_while_files_arrive_leads_nowhere() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let rig = rig();
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir(rig.path("d")).unwrap();
    std::os::unix::fs::symlink(outside.path(), rig.path("l")).unwrap();
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (d, l, stop) = (rig.path("d"), rig.path("l"), stop.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &d, rustix::fs::CWD, &l, flags).unwrap();
            }
        }
    });
    for n in 0..200 {
        rig.publish(OnConflict::Rename, vec![file(n, &format!("d/f{n}"), "x"), folder(201, "d/g")]);
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}
