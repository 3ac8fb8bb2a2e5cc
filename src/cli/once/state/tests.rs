use super::*;
use tempfile::TempDir;

fn states() -> (TempDir, States) {
    let base = tempfile::tempdir().unwrap();
    let all = base.path().join("once");
    private_folder(&all).unwrap();
    (base, States(all))
}

fn entries(states: &States) -> Vec<String> {
    let names = fs::read_dir(states.path()).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != LOCK);
    names.sort();
    names
}

/// As a peer that has begun and was killed `age` ago.
fn abandon(claim: StateClaim<'_>, age: Duration) {
    let state = claim.path().join(".rft");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("ledger.redb"), "").unwrap();
    claim.file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn one_process_at_a_time_has_a_state() {
    let (_base, states) = states();
    let first = states.claim_sending("a").unwrap();
    assert!(first.is_new);
    assert_eq!(states.claim_sending("a").err().unwrap().code, exit::FOLDERS);
    states.claim_sending("b").unwrap().remove();
    fs::write(first.path().join("password"), "x").unwrap();
    abandon(first, Duration::ZERO);
    let again = states.claim_sending("a").unwrap();
    assert!(!again.is_new && again.path().join("password").exists());
    again.remove();
    assert_eq!(entries(&states), [""; 0]);
}

#[test]
fn a_state_that_nobody_came_back_for_expires() {
    let (base, states) = states();
    let into = base.path().join("into");
    fs::create_dir(&into).unwrap();
    let day = Duration::from_secs(24 * 3600);
    abandon(states.claim_sending("old").unwrap(), EXPIRY + day);
    abandon(states.claim_sending("recent").unwrap(), EXPIRY - day);
    abandon(states.claim_receiving(&into).unwrap(), EXPIRY + day);
    drop(states.claim_sending("killed-before-it-began").unwrap());
    let busy = states.claim_sending("busy").unwrap();
    busy.file.set_modified(SystemTime::now() - 2 * EXPIRY).unwrap();
    states.claim_sending("new").unwrap().remove();
    assert_eq!(entries(&states)[1..], ["send-busy", "send-recent"]);
    assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_could_change_is_not_used() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    let (base, states) = states();
    let open = base.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(!private_folder(&open).unwrap());
    assert_eq!(fs::metadata(&open).unwrap().mode() & 0o777, 0o700);
    symlink(&open, base.path().join("link")).unwrap();
    assert!(private_folder(&base.path().join("link")).is_err());
    symlink(&open, states.path().join("send-link")).unwrap();
    let refused = states.claim_sending("link").err().unwrap();
    assert!(refused.reason.contains("it is no folder"), "{}", refused.reason);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&open, Some(12345), None).unwrap();
        assert!(private_folder(&open).unwrap_err().to_string().contains("another user"));
    }
}
