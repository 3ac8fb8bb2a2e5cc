//! What differs between systems, one entry of one held folder at a time.
//!
//! Every function takes the folder by handle and a single component of a name, and follows no
//! symbolic link: with no `/` to walk through and no link to follow, nothing beneath a handle can
//! lead out of it, whatever is renamed meanwhile. Both systems have the same functions:
//!
//! | function | meaning |
//! | --- | --- |
//! | `open_root` | a folder that the user named; links are followed here only |
//! | `open_dir`, `make_dir`, `remove_dir`, `entries` | folders |
//! | `stat`, `stat_file`, `stat_dir` | metadata, of a link itself |
//! | `open_read`, `open_edit`, `create_new`, `read_at`, `write_at` | regular files |
//! | `read_link`, `make_link` | symbolic links, targets `/`-separated |
//! | `rename_new`, `rename_over`, `unlink` | names |
//! | `set_file`, `set_dir`, `set_link` | permission bits and modification time |
//! | `sync_file`, `sync_data`, `sync_dir`, `sync_volume` | stable storage |
//! | `free_space` | bytes that this user may still write |
//! | `is_remote` | whether other hosts may change it |

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;
