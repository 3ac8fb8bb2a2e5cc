//! Pure: the names that programs give to files that are not finished (`--temp-names`). Each program
//! renames the file when it is complete, or removes it; the file is sent under that final name.
//!
//! A name is matched by its bytes, one component at a time. Three kinds of names are not on the
//! list, although some programs use them for unfinished files: `*.tmp` and `*.bak`, which others
//! use for complete files, and `*~`, the backup of an editor, which its user may want.
//! [`is_backup_name`] handles editors that create `*~` by a rename and remove it a moment later.

use crate::proto::name::Name;

/// The kind of entry that a pattern matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PatternKind {
    /// Files and symbolic links.
    File,
    /// Files of 0 bytes.
    EmptyFile,
    /// Folders, with their contents.
    Folder,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
struct Pattern {
    /// `*` is one byte or more, `X` one letter or digit; everything else is itself.
    glob: &'static str,
    kind: PatternKind,
    /// The programs that use such names.
    used_by: &'static str,
}

const fn file(glob: &'static str, used_by: &'static str) -> Pattern {
    Pattern { glob, kind: PatternKind::File, used_by }
}

const fn folder(glob: &'static str, used_by: &'static str) -> Pattern {
    Pattern { glob, kind: PatternKind::Folder, used_by }
}

/// rsync's and openrsync's names: the random part must not look like a word ([`is_word`]).
const RSYNC: [&str; 2] = [".*.XXXXXX", ".*.XXXXXXXXXX"];
/// The control file of an unfinished download, which stands beside the file itself.
const CONTROL_FILE: &[u8] = b".aria2";

const PATTERNS: [Pattern; 51] = [
    // Downloads.
    file("*.part", "Firefox, KDE, yt-dlp and others"),
    file("*.part-Frag*", "yt-dlp"),
    file("*.crdownload", "Chrome, Chromium and Edge"),
    file("*.opdownload", "Opera"),
    file("*.wkdownload", "WebKitGTK (GNOME Web)"),
    // A folder that holds the file and its state; a file of that name is any file.
    folder("*.download", "Safari"),
    file("*.partial", "rclone, Internet Explorer"),
    file("*.filepart", "WinSCP"),
    file("*.fdmdownload", "Free Download Manager"),
    file("*.dtapart", "DownThemAll"),
    file("*.ytdl", "yt-dlp"),
    file("*.aria2", "aria2"),
    file("*.!ut", "uTorrent"),
    file("*.!qB", "qBittorrent"),
    file("*.bc!", "BitComet"),
    file("*.!sync", "Resilio Sync"),
    file("*.part.minio", "MinIO's clients"),
    file("*_.gstmp", "gsutil and gcloud"),
    file(".azDownload-*", "AzCopy"),
    file(".com.google.Chrome.XXXXXX", "Chrome"),
    file(".org.chromium.Chromium.XXXXXX", "Chromium"),
    // Copies and synchronisation.
    folder(".~tmp~", "rsync --delay-updates"),
    folder(".rsync-partial", "rsync --partial-dir"),
    file(RSYNC[0], "rsync"),
    file(RSYNC[1], "openrsync"),
    file(".in.*.", "lftp, ProFTPD"),
    file(".pureftpd-upload.*", "Pure-FTPd"),
    file(".syncthing.*.tmp", "Syncthing"),
    file("~syncthing~*.tmp", "Syncthing on Windows"),
    file(".*.~*", "Nextcloud and ownCloud"),
    file(".unison.*.unison.tmp", "Unison"),
    file(".mutagen-temporary-*", "Mutagen"),
    file(".pending-*", "Android"),
    // Programs that save a document.
    file(".goutputstream-XXXXXX", "GNOME (GLib)"),
    folder("*.sb-XXXXXXXX-XXXXXX", "macOS"),
    file(".~lock.*#", "LibreOffice"),
    file("~$*", "Microsoft Office"),
    file("~WR*.tmp", "Microsoft Word"),
    // Vim's trial whether it may make files in a folder.
    Pattern { glob: "4913", kind: PatternKind::EmptyFile, used_by: "Vim" },
    file(".*.swp", "Vim and nano"),
    file(".*.swo", "Vim"),
    file(".*.swn", "Vim"),
    file(".*.swx", "Vim"),
    file(".*.kate-swp", "Kate"),
    // The lock of Emacs is a symbolic link that leads nowhere.
    file(".#*", "Emacs"),
    file("#*#", "Emacs"),
    file("*___jb_tmp___", "JetBrains' editors"),
    file("*___jb_old___", "JetBrains' editors"),
    // Files that were removed while a program had them open.
    file(".nfsXXXXXXXXXXXX*", "NFS clients"),
    file(".fuse_hidden*", "FUSE"),
    file(".smbdeleteXXX*", "SMB clients"),
];

/// The properties of an entry that the patterns depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryShape {
    /// It is a folder.
    pub folder: bool,
    /// Its size in bytes.
    pub size: u64,
}

/// The programs that give such a name to unfinished entries, `None` for any other name. `leaf` is
/// the last component.
pub(crate) fn used_by(leaf: &[u8], shape: EntryShape) -> Option<&'static str> {
    let is_kind = |kind| match kind {
        PatternKind::File => !shape.folder,
        PatternKind::EmptyFile => !shape.folder && shape.size == 0,
        PatternKind::Folder => shape.folder,
    };
    let fits = |pattern: &Pattern| {
        is_kind(pattern.kind)
            && ends_agree(pattern.glob.as_bytes(), leaf)
            && matches(pattern.glob.as_bytes(), leaf)
            && !(RSYNC.contains(&pattern.glob) && is_word(last_part(leaf)))
    };
    PATTERNS.iter().find(|pattern| fits(pattern)).map(|pattern| pattern.used_by)
}

/// Whether the entry is beneath a folder that has the name of an unfinished one.
pub(crate) fn is_in_unfinished_folder(name: &Name) -> bool {
    let above = std::iter::successors(name.parent(), Name::parent);
    above
        .into_iter()
        .any(|folder| used_by(folder.leaf(), EntryShape { folder: true, size: 0 }).is_some())
}

/// Whether this may be the backup that an editor creates by renaming a file, and removes when it
/// has written the file anew. A rename to such a name does not mean that the file is complete.
pub(crate) fn is_backup_name(leaf: &[u8]) -> bool {
    leaf.len() > 1 && leaf.ends_with(b"~")
}

/// The name of the control file whose presence says that this file is unfinished.
pub(crate) fn control_file(name: &Name) -> Option<Name> {
    name.with_leaf(&[name.leaf(), CONTROL_FILE].concat()).ok()
}

/// Whether a name on the list may mark files beside it as unfinished.
pub(crate) fn may_mark_others(leaf: &[u8]) -> bool {
    leaf.ends_with(CONTROL_FILE) || leaf.ends_with(b"part") || leaf.ends_with(b"download")
}

/// Whether a file of 0 bytes named `empty` reserves the name of a download that is written to
/// `unfinished` (Firefox: `report.pdf` beside `report.x1y2z3.pdf.part`). Both are last components,
/// and the second is on the list.
pub(crate) fn is_placeholder_of(empty: &[u8], unfinished: &[u8]) -> bool {
    unfinished.strip_prefix(stem(empty)).is_some_and(|rest| rest.first() == Some(&b'.'))
}

/// The last component without its extension.
pub(crate) fn stem(leaf: &[u8]) -> &[u8] {
    leaf.iter().rposition(|&b| b == b'.').filter(|at| *at > 0).map_or(leaf, |at| &leaf[..at])
}

/// Whether the first and the last byte match. A quick test, since a scan asks about every name and
/// nearly all differ here.
fn ends_agree(pattern: &[u8], leaf: &[u8]) -> bool {
    let agree =
        |p: Option<&u8>, b: Option<&u8>| p.is_none_or(|p| matches!(p, b'*' | b'X') || Some(p) == b);
    agree(pattern.first(), leaf.first()) && agree(pattern.last(), leaf.last())
}

/// Whether a name matches a pattern with at most two stars.
fn matches(pattern: &[u8], leaf: &[u8]) -> bool {
    let Some(first) = pattern.iter().position(|&b| b == b'*') else { return same(pattern, leaf) };
    let (head, rest) = (&pattern[..first], &pattern[first + 1..]);
    let last = rest.iter().rposition(|&b| b == b'*');
    let tail = last.map_or(rest, |at| &rest[at + 1..]);
    let middle = last.map(|at| &rest[..at]);
    let Some(inner) = leaf.len().checked_sub(head.len() + tail.len()).filter(|len| *len > 0) else {
        return false;
    };
    let inside = &leaf[head.len()..head.len() + inner];
    same(head, &leaf[..head.len()])
        && same(tail, &leaf[leaf.len() - tail.len()..])
        && middle.is_none_or(|middle| {
            let room = inside.len().saturating_sub(2);
            let bytes = inside.get(1..=room).unwrap_or_default();
            bytes.windows(middle.len()).any(|window| same(middle, window))
        })
}

/// Compares byte for byte; `X` in the pattern is any letter or digit.
fn same(pattern: &[u8], bytes: &[u8]) -> bool {
    pattern.len() == bytes.len()
        && pattern
            .iter()
            .zip(bytes)
            .all(|(p, b)| if *p == b'X' { b.is_ascii_alphanumeric() } else { p == b })
}

/// The part after the last dot.
fn last_part(leaf: &[u8]) -> &[u8] {
    leaf.rsplit(|&b| b == b'.').next().unwrap_or_default()
}

/// Whether this looks like an extension that a person chose: letters as in a word, then digits
/// (`.env.sample`, `.npmrc.backup`, `.log.202611`). Two of a hundred random names look like that
/// too; such a file is still not sent while rsync has it open.
fn is_word(part: &[u8]) -> bool {
    let digits = part.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let letters = &part[..part.len() - digits];
    letters.iter().skip(1).all(u8::is_ascii_lowercase)
        && letters.first().is_none_or(u8::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TempNames;

    const FILE: EntryShape = EntryShape { folder: false, size: 7 };
    const EMPTY: EntryShape = EntryShape { folder: false, size: 0 };
    const FOLDER: EntryShape = EntryShape { folder: true, size: 4096 };

    #[test]
    fn unfinished_files_are_known_by_their_names() {
        for (leaf, shape) in [
            ("film.mkv.part", FILE),
            ("film.f137.mp4.part-Frag12", FILE),
            ("Unconfirmed 4711.crdownload", FILE),
            ("Bericht \u{e4}.pdf.filepart", FILE),
            ("a.zip.download", FOLDER),
            ("image.iso.aria2", FILE),
            ("data.bin.9b2cf535f27731c9.part.minio", FILE),
            ("table.csv_.gstmp", FILE),
            (".com.google.Chrome.Nc5oDU", FILE),
            (".~tmp~", FOLDER),
            (".rsync-partial", FOLDER),
            (".photo.jpg.Xy7Kq2", FILE),
            (".name.XXXXXX", FILE),
            (".a.a1b2c3", FILE),
            (".photo.jpg.Xy7Kq2Ab0c", FILE),
            ("..profile.q9TTab", FILE),
            (".in.upload.bin.", FILE),
            (".pureftpd-upload.4eefcd05.15.543d.f8a021e", FILE),
            (".syncthing.notes.txt.tmp", FILE),
            ("~syncthing~notes.txt.tmp", FILE),
            (".notes.txt.~5f1a2b3c", FILE),
            (".goutputstream-U6EGP0", FILE),
            ("letter.pages.sb-1a2b3c4d-x0Y1z2", FOLDER),
            (".~lock.letter.odt#", FILE),
            ("~$letter.docx", FILE),
            ("~WRD0001.tmp", FILE),
            ("4913", EMPTY),
            (".letter.txt.swp", FILE),
            (".#letter.txt", FILE),
            ("#letter.txt#", FILE),
            ("Main.java___jb_tmp___", FILE),
            (".nfs000000000a1b2c3d00000001", FILE),
            (".fuse_hidden0000000c00000002", FILE),
        ] {
            assert!(used_by(leaf.as_bytes(), shape).is_some(), "{leaf}");
        }
    }

    #[test]
    fn names_that_a_user_gives_are_sent() {
        for (leaf, shape) in [
            ("part", FILE),
            (".part", FILE),
            ("part.txt", FILE),
            ("wheel.PART.stl", FILE),
            ("a.zip.download", FILE),
            ("my.part", FOLDER),
            (".~tmp~", FILE),
            (".env.sample", FILE),
            (".npmrc.backup", FILE),
            (".log.202611", FILE),
            (".env.stage2", FILE),
            (".bashrc.Backup", FILE),
            ("archive.Xy7Kq2", FILE),
            (".Xy7Kq2", FILE),
            ("4913", FILE),
            ("4913", FOLDER),
            ("49130", EMPTY),
            ("letter.txt~", FILE),
            ("a.tmp", FILE),
            ("~notes.txt", FILE),
            ("#1.txt", FILE),
            ("##", FILE),
            (".nfs", FILE),
            ("in.x.", FILE),
            ("\u{202e}\u{0}", FILE),
            ("", FILE),
        ] {
            assert_eq!(used_by(leaf.as_bytes(), shape), None, "{leaf}");
        }
    }

    /// `--help` and operation.md list the patterns of the table.
    #[test]
    fn the_documented_list_is_the_table() {
        let told: Vec<_> = TempNames::LIST
            .replace(" (and the file beside it)", "")
            .replace(" (empty)", "")
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let known: Vec<_> = PATTERNS
            .iter()
            .map(|pattern| {
                format!(
                    "{}{}",
                    pattern.glob,
                    if pattern.kind == PatternKind::Folder { "/" } else { "" }
                )
            })
            .collect();
        assert_eq!(told, known);
        let manual = include_str!("../../../docs/operation.md");
        for pattern in known {
            assert!(manual.contains(&format!("`{pattern}`")), "{pattern} is not in operation.md");
        }
    }

    #[test]
    fn the_contents_of_an_unfinished_folder_are_unfinished() {
        let name = |text: &str| Name::parse(text.as_bytes()).unwrap();
        assert!(
            is_in_unfinished_folder(&name("x/.~tmp~/a/b"))
                && is_in_unfinished_folder(&name("a.zip.download/Info.plist"))
        );
        assert!(
            !is_in_unfinished_folder(&name("x/.~tmp~"))
                && !is_in_unfinished_folder(&name("x/a.part/b"))
        );
    }

    #[test]
    fn an_empty_file_reserves_the_name_of_a_download() {
        for (empty, unfinished, is) in [
            ("report.pdf", "report.x1y2z3.pdf.part", true),
            ("report.pdf", "report.pdf.part", true),
            ("README", "README.crdownload", true),
            ("report.pdf", "reporting.pdf.part", false),
            ("report.pdf", "other.part", false),
            (".hidden", ".hidden.part", true),
        ] {
            assert_eq!(
                is_placeholder_of(empty.as_bytes(), unfinished.as_bytes()),
                is,
                "{empty} {unfinished}"
            );
        }
    }

    #[test]
    fn a_star_is_at_least_one_byte() {
        for (pattern, leaf, is) in [
            ("*.a", ".a", false),
            ("*.a", "x.a", true),
            (".*.~*", "..~x", false),
            (".*.~*", ".a.~", false),
            (".*.~*", ".a.~b", true),
            (".*.~*", ".a.~b.~c", true),
            ("~$*", "~$", false),
            ("a*a", "aa", false),
            ("a*a", "a", false),
            ("X*", "\u{e4}b", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), leaf.as_bytes()), is, "{pattern} {leaf}");
        }
    }
}
