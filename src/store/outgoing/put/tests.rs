use super::*;
use crate::store::tree::folder::Folder;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn put(outgoing: &Folder, source: &Path, as_name: &str) -> Result<Vec<Skipped>, PutError> {
    let (mut area, mut skipped) = (PutArea::open(outgoing)?, Vec::new());
    let name = name(as_name);
    area.is_free(&name)?;
    let stop = AtomicBool::new(false);
    let copied = area.copy(source, &name, &stop, &mut |_, why| skipped.push(why))?;
    area.publish(&copied, &name)?;
    Ok(skipped)
}

fn leaves(dir: &Path) -> Vec<String> {
    let mut leaves: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    leaves.sort();
    leaves
}

#[test]
fn a_file_gets_any_free_name_and_replaces_none() {
    let base = tempfile::tempdir().unwrap();
    let (source, out) = (base.path().join("f"), base.path().join("out"));
    fs::write(&source, "content").unwrap();
    let outgoing = Folder::open(&out, true).unwrap();
    put(&outgoing, &source, "f").unwrap();
    put(&outgoing, &source, "d/e/g").unwrap();
    put(&outgoing, &source, "d/h").unwrap();
    assert!(matches!(put(&outgoing, &source, "f"), Err(PutError::Taken(_))));
    assert!(matches!(put(&outgoing, &source, "d"), Err(PutError::Taken(_))));
    assert!(put(&outgoing, &source, "f/below").is_err());
    for path in ["f", "d/e/g", "d/h"] {
        assert_eq!(fs::read(out.join(path)).unwrap(), b"content", "{path}");
    }
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(modified(&source), modified(&out.join("d/e/g")));
    assert_eq!(leaves(&out), ["d", "f"], "nothing is left over");
}

#[cfg(unix)]
#[test]
fn a_folder_arrives_with_all_that_can_be_sent() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let base = tempfile::tempdir().unwrap();
    let (source, out) = (base.path().join("s"), base.path().join("out"));
    fs::create_dir_all(source.join("empty")).unwrap();
    for i in 0..10 {
        fs::write(source.join(format!("f{i}")), i.to_string()).unwrap();
    }
    symlink("f1", source.join("inside")).unwrap();
    symlink("/etc/passwd", source.join("outside")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, source.join("pipe"), 0o600.into()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(source.join("f3"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o555)).unwrap();
    let outgoing = Folder::open(&out, true).unwrap();
    let mut skipped = put(&outgoing, &source, "x/s").unwrap();
    skipped.sort_by_key(|why| format!("{why:?}"));
    assert_eq!(skipped, [Skipped::Kind, Skipped::LinkOut]);
    let copy = out.join("x/s");
    assert_eq!(leaves(&copy).len(), 12);
    assert_eq!(fs::read_link(copy.join("inside")).unwrap(), Path::new("f1"));
    assert_eq!((mode(&copy), mode(&copy.join("f3"))), (0o555, 0o640));
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(modified(&source), modified(&copy));
    assert_eq!(leaves(&out), ["x"]);
}

#[test]
fn what_a_killed_process_left_is_removed_and_a_running_one_is_not_disturbed() {
    let base = tempfile::tempdir().unwrap();
    let (source, out) = (base.path().join("f"), base.path().join("out"));
    fs::write(&source, "content").unwrap();
    let outgoing = Folder::open(&out, true).unwrap();
    let stop = AtomicBool::new(false);
    let mut area = PutArea::open(&outgoing).unwrap();
    let copied = area.copy(&source, &name("g"), &stop, &mut |_, _| {}).unwrap();
    put(&outgoing, &source, "f").unwrap();
    clear_put_area(&outgoing).unwrap();
    area.publish(&copied, &name("g")).unwrap();
    drop(area);
    assert_eq!(leaves(&out), ["f", "g"]);
    let left = out.join(".rft-put/1-0/1");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("half"), "half").unwrap();
    clear_put_area(&outgoing).unwrap();
    assert_eq!(leaves(&out), ["f", "g"]);
}

#[test]
fn a_stopped_copy_leaves_nothing() {
    let base = tempfile::tempdir().unwrap();
    let (source, out) = (base.path().join("f"), base.path().join("out"));
    fs::write(&source, "content").unwrap();
    let outgoing = Folder::open(&out, true).unwrap();
    let mut area = PutArea::open(&outgoing).unwrap();
    let stopped = area.copy(&source, &name("g"), &AtomicBool::new(true), &mut |_, _| {});
    assert!(matches!(stopped, Err(PutError::Stopped)));
    drop(area);
    assert_eq!(leaves(&out), [""; 0]);
}
