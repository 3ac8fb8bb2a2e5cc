//! Services of the system, in a mount namespace of their own: nothing of the host is changed.

use super::User;
use crate::harness::peer::free_port;
use std::path::Path;
use std::process::Command;

/// Runs a script of a shell as root in its own namespace, with empty folders for services and the
/// program in `/usr/local/bin`. `None` where this user may not.
fn as_root(user: &User, script: &str) -> Option<(bool, String)> {
    let trial = ["--mount", "mount", "-t", "tmpfs", "none", "/mnt"];
    let may = Command::new("unshare").args(trial).output();
    if !may.is_ok_and(|done| done.status.success()) {
        eprintln!("NOT TESTED as a service of the system: this user may not mount");
        return None;
    }
    if !["/etc/systemd/system", "/srv", "/usr/local/bin"].iter().all(|at| Path::new(at).is_dir()) {
        eprintln!("NOT TESTED as a service of the system: this one has no folders for them");
        return None;
    }
    let prepare = r#"set -e
for folder in /etc/systemd/system /srv /usr/local/bin; do
  mount -t tmpfs -o mode=755 none $folder
done
cp "$RFT" /usr/local/bin/rft
"#;
    let done = Command::new("unshare")
        .args(["--mount", "sh", "-c", &format!("{prepare}{script}")])
        .env("RFT", env!("CARGO_BIN_EXE_rft"))
        .env("PORT", free_port().to_string())
        .env("PW", user.path("home/.config/rft/bob.password"))
        .env("PATH", format!("{}:{}", user.path("bin").display(), std::env::var("PATH").unwrap()))
        .output()
        .unwrap();
    let text = [done.stdout, done.stderr].concat();
    Some((done.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn a_service_of_the_system_gets_its_folder_and_is_removed_without_it() {
    let user = User::new();
    user.write_password("bob", 0o600);
    let script = r#"
rft=/usr/local/bin/rft
$rft service install --name bob --run-as nobody --password-file "$PW" 127.0.0.2 $PORT \
  || exit 1
$rft service remove
rmdir /srv/rft/bob
$rft service install --name bob --run-as nobody -- --password-file "$PW" 127.0.0.2 $PORT
stat -c '%U %a %n' /srv/rft/bob /etc/systemd/system/rft@bob.service
grep -c -e '^User=nobody$' -e '^ReadWritePaths=/srv/rft/bob$' /etc/systemd/system/rft@bob.service
$rft service remove --name bob
ls -d /srv/rft/bob
ls /etc/systemd/system | wc -l
"#;
    let Some((success, text)) = as_root(&user, script) else { return };
    assert!(success, "{text}");
    for line in [
        "service   rft@bob.service is ready as the user nobody, and starts with the system from now on\n",
        "nobody 700 /srv/rft/bob\nroot 644 /etc/systemd/system/rft@bob.service\n2\n",
        "kept     /srv/rft/bob\n",
        "\n/srv/rft/bob\n0\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing:\n{text}");
    }
}

#[test]
fn what_others_could_change_is_no_program_or_folder_of_the_system() {
    let user = User::new();
    user.write_password("bob", 0o600);
    let script = r#"set +e
install="service install --name bob --run-as nobody -- --password-file $PW"
cp "$RFT" /root/rft-of-a-home 2>/dev/null || exit 0
/root/rft-of-a-home $install 127.0.0.2 $PORT; echo "code $?"
rm /root/rft-of-a-home
chmod 775 /usr/local/bin
/usr/local/bin/rft $install 127.0.0.2 $PORT; echo "code $?"
chmod 755 /usr/local/bin
mkdir -p /srv/rft/bob
/usr/local/bin/rft $install 127.0.0.2 $PORT; echo "code $?"
/usr/local/bin/rft service install --name bob --run-as nobody-at-all -- --password-file $PW 127.0.0.2 $PORT; echo "code $?"
ls /etc/systemd/system | wc -l
"#;
    let with_home = format!("mount -t tmpfs -o mode=700 none /root\n{script}");
    // The program itself may be in that home.
    let with_home = format!(
        "cp \"$RFT\" /usr/local/bin/one; RFT=/usr/local/bin/one\ncp \"$PW\" /srv/pw; chmod 600 /srv/pw; PW=/srv/pw\n{with_home}"
    );
    let Some((_, text)) = as_root(&user, &with_home) else { return };
    for part in [
        "which is in the home of a user",
        "others than root can change /usr/local/bin",
        "/srv/rft/bob belongs to another user than nobody",
        "there is no user nobody-at-all; type: useradd",
    ] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
    assert_eq!(text.matches("code 2\n").count(), 4, "{text}");
    assert!(text.ends_with("0\n") || text.contains("\n0\n"), "{text}");
}
