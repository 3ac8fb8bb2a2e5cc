//! The sections of the man pages that clap knows nothing of: ENVIRONMENT, FILES, EXIT STATUS and
//! EXAMPLES.

/// A term and its explanation.
pub(super) type Entry = (&'static str, &'static str);

/// The sections of one page. An empty one is left out.
pub(super) struct Sections {
    pub(super) environment: &'static [Entry],
    pub(super) files: &'static [Entry],
    /// Codes of [`crate::cli::exit::TABLE`]. Every other command than a peer has 0 to 2 as well.
    pub(super) codes: &'static [u8],
    /// Command lines, each with its purpose.
    pub(super) examples: &'static [Entry],
}

const NO_COLOR: Entry = ("NO_COLOR", "If set and not 0, nothing is coloured.");

const PASSWORD: Entry = (
    "RFT_PASSWORD",
    "The password, if neither --password-file nor a credential has it. The user's other processes can read it.",
);
const CREDENTIAL: Entry = (
    "CREDENTIALS_DIRECTORY",
    "The folder of a service's credentials: password in it is the password, if --password-file is not given.",
);
const LOG: Entry = (
    "RFT_LOG",
    "The filter of the log file, in the syntax of tracing, for example rft::transport=trace.",
);

const PEER_ENVIRONMENT: &[Entry] =
    &[PASSWORD, CREDENTIAL, LOG, NO_COLOR, ("TERM", "With dumb, no progress bars are drawn.")];
const COLOURS: &[Entry] = &[NO_COLOR];
const HISTORY_ENVIRONMENT: &[Entry] =
    &[NO_COLOR, ("TZ", "The time zone of the times that are typed and shown.")];

const OUTGOING: Entry = ("DIR/Outgoing/", "Files dropped here are sent.");
const INCOMING: Entry = ("DIR/Incoming/", "Received files appear here, complete.");
const HISTORY: Entry = ("DIR/.rft/history.redb", "The history of the files.");
const CONTROL: Entry =
    ("DIR/.rft/control", "The socket of the running rft, which only its user reaches.");

const SETTINGS: Entry =
    ("DIR/rft.toml", "Options under their long names, such as after-send = \"keep\".");

const PEER_FILES: &[Entry] = &[
    SETTINGS,
    OUTGOING,
    ("DIR/Outgoing/.rftignore", "Names that are not sent, in the syntax of gitignore."),
    INCOMING,
    ("DIR/.rft/ledger.redb", "The installation's id, and the files that have arrived."),
    HISTORY,
    CONTROL,
    ("DIR/.rft/stage/", "Files that are arriving."),
    ("DIR/.rft/quarantine/", "Files that the program of --on-received checks (--quarantine)."),
    ("DIR/.rft/removing/", "Files that are being removed from Outgoing. Do not delete it."),
    ("DIR/.rft/sent/", "Files that were archived by --after-send archive."),
    ("DIR/.rft/cancelled/", "Files that rft cancel took out of Outgoing."),
    ("DIR/.rft/rft.log", "The log; older ones are rft.log.1 and rft.log.2."),
];

const ONCE_ENVIRONMENT: &[Entry] =
    &[PASSWORD, LOG, NO_COLOR, ("XDG_STATE_HOME", "Has rft/once/ then.")];
const ONCE_FILES: &[Entry] = &[(
    "~/.local/state/rft/once/",
    "The state of unfinished exchanges, and copies of files to send; rft receive has .rft-receive in its folder instead. Both are removed at the end, or when they were not used for 7 days.",
)];
const ONCE_CODES: &[u8] = &[3, 4, 5, 6, 14, 16, 17, 21, 130, 143];

const PEER_CODES: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 130, 143];
const ALL_CODES: &[u8] =
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 130, 143];

const PEER_EXAMPLES: &[Entry] = &[
    ("rft bob.example.org 4000", "Exchange files with bob, who names this host in the same way."),
    ("rft listen 4000", "Accept any peer that knows the password."),
    (
        "rft --drain --wait 1h --password-file pw bob 4000",
        "From a script: leave when all is sent and received, or after an hour.",
    ),
    (
        "pass show rft/bob | rft --password-file - bob 4000",
        "Take the password from a store of passwords.",
    ),
    ("rft --json --password-file pw bob 4000 | jq .", "Print the events for a program."),
];

/// The page of rft itself.
pub(super) const MAIN: Sections = Sections {
    environment: PEER_ENVIRONMENT,
    files: PEER_FILES,
    codes: ALL_CODES,
    examples: PEER_EXAMPLES,
};

/// The pages of the commands.
const PAGES: &[(&str, Sections)] = &[
    (
        "listen",
        Sections {
            codes: PEER_CODES,
            examples: &[
                ("rft listen 4000", "Accept any peer that knows the password, on UDP port 4000."),
                (
                    "rft --dir /srv/rft --password-file /etc/rft/password listen 4000",
                    "The same with other folders, and the password from a file.",
                ),
                (
                    "rft --bind 192.0.2.7 --exit-on-auth-failure listen 4000",
                    "Serve one address, and leave with code 9 when a peer has a wrong password.",
                ),
            ],
            ..MAIN
        },
    ),
    (
        "status",
        Sections {
            environment: COLOURS,
            files: &[CONTROL],
            codes: &[18],
            examples: &[
                ("rft status", "Show the state of the rft of this folder."),
                ("rft status --dir /srv/rft --watch", "Show another one's, every second."),
                ("rft status --json | jq .", "Print it for a program."),
            ],
        },
    ),
    (
        "top",
        Sections {
            environment: COLOURS,
            files: &[CONTROL],
            codes: &[18, 130, 143],
            examples: &[(
                "rft top --dir /srv/rft",
                "Watch the rft of this folder; ? lists the keys, q ends it.",
            )],
        },
    ),
    (
        "send",
        Sections {
            environment: ONCE_ENVIRONMENT,
            files: ONCE_FILES,
            codes: ONCE_CODES,
            examples: &[
                ("rft send report.pdf photos bob 4000", "Send a file and a folder, and end."),
                ("tar c src | rft send - --as src.tar bob:4000", "Send the standard input."),
                (
                    "rft send --password-file pw --wait 1h report.pdf bob 4000",
                    "From a script: give up after an hour.",
                ),
            ],
        },
    ),
    (
        "receive",
        Sections {
            environment: ONCE_ENVIRONMENT,
            files: ONCE_FILES,
            codes: ONCE_CODES,
            examples: &[
                ("rft receive 4000", "Receive into this folder, and end."),
                ("rft receive --into ~/Downloads 4000", "Receive into another one."),
            ],
        },
    ),
    (
        "put",
        Sections {
            environment: COLOURS,
            files: &[OUTGOING, CONTROL],
            codes: &[18, 130, 143],
            examples: &[
                ("rft put report.pdf", "Copy it into the Outgoing of the rft of this folder."),
                ("rft put --wait photos notes.txt", "Leave when the peer has all of them."),
                ("rft put --urgent fix.tar", "Send it before everything that waits."),
                ("rft put --as 2026/march.pdf report.pdf", "Send it under another name."),
            ],
        },
    ),
    ("pause", steering(&[("rft pause", "Send no further file; files are received.")])),
    ("resume", steering(&[("rft resume --dir /srv/rft", "Send files again.")])),
    (
        "limit",
        steering(&[
            ("rft limit 2M", "Send at most 2,000,000 bytes a second from now on."),
            ("rft limit off", "Send as fast as the path allows."),
            ("rft limit Mon-Fri 08:00-18:00 2M", "Limit it in working hours only."),
        ]),
    ),
    (
        "retry",
        steering(&[
            ("rft retry", "Offer all waiting and refused files again now."),
            ("rft retry film.mkv", "Offer one of them again."),
        ]),
    ),
    (
        "cancel",
        steering(&[
            ("rft cancel film.mkv", "Stop sending it; it is moved to .rft/cancelled."),
            ("mv .rft/cancelled/film.mkv Outgoing/", "Send it after all."),
        ]),
    ),
    (
        "history",
        Sections {
            environment: HISTORY_ENVIRONMENT,
            files: &[HISTORY],
            codes: &[14],
            examples: &[
                ("rft history --since yesterday", "List the entries of yesterday and today."),
                ("rft history --since 13:30 --until 2h", "From half past one to two hours ago."),
                ("rft history -n 20", "The last 20 entries."),
                ("rft history report.odt", "The entries of one file."),
                ("rft history --json | jq .", "Print them for a program."),
            ],
        },
    ),
    (
        "receipt",
        Sections {
            environment: HISTORY_ENVIRONMENT,
            files: &[HISTORY, OUTGOING, INCOMING],
            codes: &[20],
            examples: &[
                ("rft receipt report.odt", "Print hash, size, times and both installations."),
                ("rft receipt --verify Incoming/report.odt", "Compare the file's content too."),
            ],
        },
    ),
    (
        "check",
        Sections {
            environment: COLOURS,
            files: &[OUTGOING, INCOMING, ("DIR/.rft/", "The state folder.")],
            codes: &[3, 4, 14, 19],
            examples: &[
                ("rft check", "Check this host."),
                ("rft check listen 4000", "Check its port too."),
                ("rft check bob 4000", "Check the way to bob too."),
            ],
        },
    ),
    (
        "config",
        Sections {
            environment: &[PASSWORD, LOG],
            files: &[SETTINGS],
            codes: &[3, 4, 14],
            examples: &[
                ("rft config", "Print the options of a peer that is started in this folder."),
                (
                    "rft config --dir /srv/rft --drain bob 4000",
                    "The same for this command line; it is checked, and nothing is started.",
                ),
            ],
        },
    ),
    (
        "service",
        Sections {
            environment: &[(
                "XDG_CONFIG_HOME",
                "Where a user's units and passwords are [~/.config].",
            )],
            files: &[
                ("/etc/rft/NAME.password", "The password, of a user in ~/.config/rft."),
                ("/srv/rft/NAME/", "The folders without --dir, of a user in ~/rft."),
                (
                    "/etc/systemd/system/rft@NAME.service",
                    "The unit, of a user in ~/.config/systemd/user.",
                ),
                (
                    r"C:\ProgramData\rft\NAME",
                    "On Windows: the folder; beside it the password and the words.",
                ),
            ],
            codes: &[3, 4, 14, 18, 19],
            examples: &[
                (
                    "rft service install --name bob -- bob.example.org 4000",
                    "Check what the service needs, install it, and start it.",
                ),
                (
                    "rft service install --dry-run -- --dir /data bob.example.org 4000",
                    "Print the unit that would be written.",
                ),
                ("rft service status", "Show all services, how they ended last, and what they do."),
                ("rft service remove --name bob", "Stop it and remove it; its folders stay."),
            ],
        },
    ),
    (
        "demo",
        Sections {
            environment: COLOURS,
            files: &[],
            codes: &[5, 16],
            examples: &[
                ("rft demo", "Show an exchange between two peers on this machine."),
                ("rft demo --keep", "The same, and leave the folder with the files."),
            ],
        },
    ),
    (
        "passphrase",
        Sections {
            environment: &[],
            files: &[],
            codes: &[],
            examples: &[(
                "(umask 077; rft passphrase > pw)",
                "Write a password for --password-file that only this user can read.",
            )],
        },
    ),
    (
        "completions",
        Sections {
            environment: &[],
            files: &[],
            codes: &[],
            examples: &[
                ("source <(rft completions bash)", "Complete in this bash."),
                (
                    "rft completions fish > ~/.config/fish/completions/rft.fish",
                    "Complete in every fish from now on.",
                ),
            ],
        },
    ),
    (
        "man",
        Sections {
            environment: &[],
            files: &[],
            codes: &[],
            examples: &[
                ("rft man | man -l -", "Show the page of rft."),
                ("rft man status | man -l -", "Show the page of rft status."),
            ],
        },
    ),
];

/// The page of a command; one that has none here has no example.
pub(super) fn of(command: &str) -> Option<&'static Sections> {
    PAGES.iter().find(|(name, _)| *name == command).map(|(_, sections)| sections)
}

/// The page of a command that steers a running rft.
const fn steering(examples: &'static [Entry]) -> Sections {
    Sections { environment: COLOURS, files: &[CONTROL], codes: &[14, 18], examples }
}
