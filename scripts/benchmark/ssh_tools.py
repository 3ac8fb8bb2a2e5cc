"""How scripts/bench runs the tools that use ssh, and rsync without it."""

import contextlib
import getpass
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from network import RIGHT, Failed, TooSlow
from tools import START_LIMIT, Tool, first_line, wait_for

SSH_PORT, RSYNCD_PORT = 2222, 8730
SERVER = """\
ListenAddress 0.0.0.0
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
Subsystem sftp internal-sftp
"""
CLIENT = """\
Host bench
HostName {address}
Port {port}
User {user}
IdentityFile {folder}/user
IdentitiesOnly yes
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""
DAEMON = """\
use chroot = no
port = {port}
[target]
path = {path}
read only = no
"""
# Without it rsync of root writes as another user; without root it cannot be set.
DAEMON_OF_ROOT = """\
uid = 0
gid = 0
"""


class OverSsh(Tool):
    """Tools that log in to an sshd of our own on the right side."""

    # The client's configuration.
    config = None
    note = "from the start of its process to its end, with an ssh login"

    def __init__(self):
        super().__init__()
        if not self.missing and not OverSsh.config:
            self.missing = "no usable sshd"


class Rsync(OverSsh):
    name, command = "rsync over ssh", "rsync"

    def copy(self, run):
        ssh = f"ssh -F {self.config}"
        there = f"--rsync-path={shutil.which('rsync')}"
        run.left.run(["rsync", "-a", "-e", ssh, there, f"{run.source}/", f"bench:{run.target}/"],
                     run.limit)


class RsyncBbr(Rsync):
    """The same with another congestion control than most systems' default."""

    name = "rsync over ssh, BBR"
    note = "the same with the kernel's BBR instead of CUBIC"

    def refuses(self, row):
        return None if row.link.emulated else "measured over emulated links"

    @contextlib.contextmanager
    def session(self, run):
        run.network.congestion_control("bbr")
        try:
            yield lambda: self.copy(run)
        finally:
            run.network.congestion_control("cubic")


class Rsyncd(Tool):
    """rsync's own protocol: no encryption, no login."""

    name, command, rival = "bare rsyncd", "rsync", False
    note = "rsync's own protocol, without encryption and login; its server is up"

    def refuses(self, row):
        return "TCP, as rsync over ssh" if row.link.emulated else None

    @contextlib.contextmanager
    def session(self, run):
        config = run.folder / "rsyncd.conf"
        text = DAEMON.format(port=RSYNCD_PORT, path=run.target)
        config.write_text(text + (DAEMON_OF_ROOT if os.getuid() == 0 else ""))
        words = ["rsync", "--daemon", "--no-detach", f"--config={config}"]
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with run.right.process(words, stderr=subprocess.DEVNULL, **quiet):
            wait_for(RIGHT, RSYNCD_PORT)
            yield lambda: self.copy(run)

    def copy(self, run):
        to = f"rsync://{RIGHT}:{RSYNCD_PORT}/target/"
        run.left.run(["rsync", "-a", f"{run.source}/", to], run.limit)


class Scp(OverSsh):
    name, command, version_option = "scp", "scp", "-V"

    def __init__(self):
        super().__init__()
        if not self.missing:
            done = subprocess.run(["ssh", "-V"], capture_output=True, text=True)
            self.version = first_line(done.stderr)

    def refuses(self, row):
        return "TCP, as rsync over ssh" if row.link.emulated else None

    def copy(self, run):
        sources = sorted(run.source.iterdir())
        run.left.run(["scp", "-q", "-r", "-F", self.config, *sources, f"bench:{run.target}/"],
                     run.limit)


class Qcp(OverSsh):
    name, command = "qcp", "qcp"

    def copy(self, run):
        # The first configuration tells qcp where the host is, the second one is its ssh's.
        ssh = ["--ssh-config", self.config, "-S", "-F", "-S", self.config]
        there = ["--remote-qcp-binary", shutil.which("qcp")]
        run.left.run(["qcp", "--quiet", *ssh, *there, "-r", run.source, f"bench:{run.target}/"],
                     run.limit)


@contextlib.contextmanager
def sshd(network):
    """An sshd on the right side with keys of its own, for this user."""
    paths = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    server = shutil.which("sshd", path=paths)
    if not server or not shutil.which("ssh-keygen"):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="rft-bench-ssh-") as folder:
        folder = Path(folder)
        for name in ("host", "user"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
            subprocess.run(words, check=True)
        facts = dict(port=SSH_PORT, folder=folder, address=RIGHT, user=getpass.getuser())
        (folder / "sshd_config").write_text(SERVER.format(**facts))
        (folder / "ssh_config").write_text(CLIENT.format(**facts))
        with contextlib.suppress(OSError):
            # sshd of Debian wants it, and only root can make it.
            os.makedirs("/run/sshd", exist_ok=True)
        words = [server, "-D", "-e", "-f", folder / "sshd_config"]
        with network.right.process(words, stderr=subprocess.DEVNULL):
            with network.ethernet(1500):
                try:
                    wait_for(RIGHT, SSH_PORT)
                    login = ["ssh", "-F", folder / "ssh_config", "bench", "true"]
                    network.left.run(login, START_LIMIT)
                    OverSsh.config = folder / "ssh_config"
                except (Failed, TooSlow) as failed:
                    print(f"sshd cannot be used: {failed}")
            yield
