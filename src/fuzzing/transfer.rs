//! Sends a file from Outgoing into Incoming over a stream that is cut at any byte, while the file
//! is changed, the stage is damaged and the receiver is restarted.

use crate::config::{Folders, OnConflict};
use crate::crypto::Role;
use crate::crypto::fuzzing::keys;
use crate::crypto::seal::Numbered;
use crate::event::EventSink;
use crate::inbox::{Committer, Inbox, Limits};
use crate::meter::Meter;
use crate::outbox::{Compression, Delivery, Item, Receipt};
use crate::proto::codec::Reader;
use crate::proto::message::{CHUNK_SIZE, EntryKind, TransferId};
use crate::proto::name::Name;
use crate::session::PathRate;
use crate::session::record::{RecordReader, RecordWriter};
use crate::store::{FileKind, Folder, Incoming, Ledger, StateDir};
use crate::transport::stream::{RecvHalf, SendHalf, pipe};
use bytes::Bytes;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;

/// If a bit of the stream was changed, the session of an attempt ends after this time without a
/// byte.
const SESSION: Duration = Duration::from_millis(500);
/// Attempts that may fail before the one that must succeed.
const ATTEMPTS: usize = 4;

/// Sends one file. Each attempt may be cut after some bytes in either direction. Before it or
/// during it the file may change; between attempts the staged file may be damaged and the receiver
/// restarted. At any time, Incoming holds only whole versions of the file, and at the end the last
/// one, once.
///
/// # Panics
/// If that does not hold.
pub fn transfer(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(play(&mut Reader::new(data)));
}

async fn play(choices: &mut Reader<'_>) {
    let dir = tempfile::tempdir().unwrap();
    let mut file =
        VersionedFile::new(dir.path().join("Outgoing"), number(choices, 5 * CHUNK_SIZE / 2));
    let folders = Folders::in_dir(dir.path());
    let mut receiver = Receiver::open(&folders);
    for attempt in 0..ATTEMPTS {
        let what = choices.u8().unwrap_or(0);
        if what & 1 != 0 {
            file.change(choices);
        }
        if what & 2 != 0 {
            drop(receiver);
            if what & 4 != 0 {
                damage(&folders, choices);
            }
            receiver = Receiver::open(&folders);
        }
        let faults = Faults {
            there: cut(what & 8 != 0, choices),
            back: cut(what & 16 != 0, choices),
            flipped: (what & 32 != 0).then(|| number(choices, 3 * CHUNK_SIZE)),
            changed: (what & 64 != 0).then(|| number(choices, 3 * CHUNK_SIZE)),
            first_offer: what & 128 != 0,
        };
        tokio::time::timeout(Duration::from_secs(60), run(&receiver, &mut file, faults, choices))
            .await
            .unwrap_or_else(|_| panic!("attempt {attempt} hangs"));
        file.check(&folders);
    }
    run(&receiver, &mut file, Faults::none(), choices).await;
    file.check(&folders);
    assert!(file.arrived(&folders).contains(file.versions.last().unwrap()), "it never arrived");
}

/// A choice from 0 to `n` - 1.
fn number(choices: &mut Reader<'_>, n: usize) -> usize {
    choices.u32().map_or(0, |choice| choice as usize % n)
}

fn cut(cut: bool, choices: &mut Reader<'_>) -> usize {
    if cut { number(choices, 3 * CHUNK_SIZE) } else { usize::MAX }
}

/// The file and all its versions.
struct VersionedFile {
    folder: PathBuf,
    versions: Vec<Vec<u8>>,
}

impl VersionedFile {
    fn new(folder: PathBuf, size: usize) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let mut content = vec![0; size];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        fs::write(folder.join("f"), &content).unwrap();
        let file = Self { folder, versions: vec![content] };
        file.touch();
        file
    }

    /// Gives each version a time of its own that no write produces, so that no change is too quick
    /// for the clock of the file system.
    fn touch(&self) {
        let time = SystemTime::UNIX_EPOCH
            + Duration::from_secs(4_000_000_000 + self.versions.len() as u64);
        File::options()
            .write(true)
            .open(self.folder.join("f"))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    /// Overwrites a part of it, truncates or extends it, or replaces it by another file.
    fn change(&mut self, choices: &mut Reader<'_>) {
        let mut content = self.versions.last().unwrap().clone();
        let (how, version) = (choices.u8().unwrap_or(0), self.versions.len() as u8);
        let at = number(choices, content.len() + 1);
        let path = self.folder.join("f");
        match how % 4 {
            0 => content.truncate(at),
            1 => content.resize(content.len() + number(choices, CHUNK_SIZE), version),
            _ => content[at..].iter_mut().take(9).for_each(|byte| *byte ^= version),
        }
        if how % 4 == 3 {
            fs::write(self.folder.join("g"), &content).unwrap();
            self.versions.push(content);
            fs::rename(self.folder.join("g"), path).unwrap();
        } else {
            let mut file = File::options().write(true).open(path).unwrap();
            file.set_len(content.len() as u64).unwrap();
            let at = at.min(content.len());
            file.seek(SeekFrom::Start(at as u64)).unwrap();
            file.write_all(&content[at..]).unwrap();
            self.versions.push(content);
        }
        self.touch();
    }

    fn item(&self, folder: &Folder, first_offer: bool) -> Item {
        let name = Name::parse(b"f").unwrap();
        let meta = folder.stat(&name).unwrap();
        assert_eq!(meta.kind, FileKind::File);
        let mut id = TransferId([0; 16]);
        id.0.copy_from_slice(&blake3::hash(format!("{meta:?}").as_bytes()).as_bytes()[..16]);
        Item {
            name,
            meta,
            kind: EntryKind::File { size: meta.size },
            id,
            attempt: 0,
            first_offer,
            snapshot: false,
            urgent: false,
            ask_first: false,
            receiver: 0,
            content: None,
        }
    }

    fn arrived(&self, folders: &Folders) -> Vec<Vec<u8>> {
        fs::read_dir(&folders.incoming)
            .unwrap()
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect()
    }

    /// The receipt is for what is in Incoming, a version of the file.
    fn check_receipt(&self, receipt: &Receipt) {
        let saved_as = receipt.saved_as.to_path().unwrap();
        let content = fs::read(receiver_path(&self.folder).join(saved_as)).unwrap();
        assert_eq!(
            *blake3::hash(&content).as_bytes(),
            receipt.hash,
            "the receipt is for other content"
        );
        assert!(self.versions.contains(&content));
    }

    /// Incoming holds only versions of the file, each once.
    fn check(&self, folders: &Folders) {
        let arrived = self.arrived(folders);
        let count = |all: &[Vec<u8>], content| all.iter().filter(|other| *other == content).count();
        for content in &arrived {
            let (there, most) = (count(&arrived, content), count(&self.versions, content));
            assert!(most > 0, "{} bytes that it never was", content.len());
            assert!(there <= most, "{there} times, and it was so {most} times");
        }
    }
}

/// The receiving process.
struct Receiver {
    inbox: Inbox,
}

impl Receiver {
    fn open(folders: &Folders) -> Self {
        let state = StateDir::open(folders).unwrap();
        let ledger = Arc::new(Ledger::open(&state).unwrap());
        let incoming = Arc::new(Incoming::open(&folders.incoming, &state).unwrap());
        incoming.recover(&ledger, OnConflict::Rename).unwrap();
        let meter = Arc::new(Meter::new());
        let committer =
            Committer::start(incoming.clone(), ledger.clone(), OnConflict::Rename, meter.clone())
                .unwrap();
        let limits = Limits {
            max_file_size: None,
            max_incoming: None,
            min_free: 0,
            partial: 16 << 20,
            keep_existing: false,
            renames: true,
        };
        Self {
            inbox: Inbox::new(incoming, ledger, committer, EventSink::none(), limits, meter, None),
        }
    }
}

/// Flips, truncates or extends the staged file or its checkpoint.
fn damage(folders: &Folders, choices: &mut Reader<'_>) {
    for entry in fs::read_dir(folders.state.join("stage")).unwrap() {
        let path = entry.unwrap().path();
        let mut content = fs::read(&path).unwrap();
        let (how, at) = (choices.u8().unwrap_or(0), number(choices, content.len() + 1));
        match how % 4 {
            0 => content.truncate(at),
            1 => content.resize(content.len() + at, 7),
            2 if at < content.len() => content[at] ^= 1 << (how >> 5),
            _ => {}
        }
        fs::write(path, content).unwrap();
    }
}

/// The faults of one stream.
struct Faults {
    /// Bytes that cross to the receiver, and back, before both ends see the stream break.
    there: usize,
    back: usize,
    /// A bit of this byte is changed on the way to the receiver.
    flipped: Option<usize>,
    /// The file is changed after this many bytes.
    changed: Option<usize>,
    /// The sender assumes, perhaps wrongly, that the receiver has nothing, and does not wait for
    /// its answer.
    first_offer: bool,
}

impl Faults {
    fn none() -> Self {
        Self {
            there: usize::MAX,
            back: usize::MAX,
            flipped: None,
            changed: None,
            first_offer: false,
        }
    }

    fn are_none(&self) -> bool {
        self.there == usize::MAX
            && self.back == usize::MAX
            && self.flipped.is_none()
            && self.changed.is_none()
    }
}

/// One attempt: both ends and the path between them.
async fn run(
    receiver: &Receiver,
    file: &mut VersionedFile,
    faults: Faults,
    choices: &mut Reader<'_>,
) {
    let outgoing = Arc::new(Folder::open(&file.folder, false).unwrap());
    let item = file.item(&outgoing, faults.first_offer);
    let delivery =
        Delivery::new(outgoing, EventSink::none(), Arc::new(Meter::new()), Arc::default());
    let ((a_send, a_recv), a_far) = pipe(64 * 1024);
    let (b_near, (b_send, b_recv)) = pipe(64 * 1024);
    let keys = keys();
    let writer = |half, role| {
        let (half, sealer) = keys.sealer(role, Numbered(half, 0));
        RecordWriter::new(half, sealer)
    };
    let sender = (
        writer(a_send, Role::Initiator),
        RecordReader::new(a_recv, keys.opener(Role::Responder, 0)),
    );
    let slot = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    let compression = Compression::new(true, PathRate::new(0));
    let deliver = delivery.deliver(&item, sender.0, sender.1, slot, compression);
    let receive = receiver.inbox.receive(
        writer(b_send, Role::Responder),
        RecordReader::new(b_recv, keys.opener(Role::Initiator, 0)),
    );
    let honest = faults.are_none();
    let between = carry(a_far, b_near, file, faults, choices);
    let (delivered, received, ()) = tokio::join!(deliver, receive, between);
    if let Ok(receipt) = &delivered {
        file.check_receipt(receipt);
    }
    if honest {
        assert!(received.is_ok(), "{received:?}");
        assert!(delivered.is_ok(), "{delivered:?}");
    }
}

/// Carries the bytes of both directions between the far ends of the two pipes, with faults.
async fn carry(
    (a_send, a_recv): (SendHalf, RecvHalf),
    (b_send, b_recv): (SendHalf, RecvHalf),
    file: &mut VersionedFile,
    faults: Faults,
    choices: &mut Reader<'_>,
) {
    let back = carry_back(b_recv, a_send, faults.back);
    let there = carry_there(a_recv, b_send, file, faults, choices);
    tokio::pin!(there, back);
    // A cut in one direction cuts the other too. A direction that ends by itself leaves the other
    // open.
    tokio::select! {
        cut = &mut there => if cut.is_some() { back.await; },
        cut = &mut back => if cut.is_some() { there.await; },
    }
}

/// Carries the bytes of the sender. Returns the stream if the sender ended it before a cut.
async fn carry_there(
    mut from: RecvHalf,
    mut to: SendHalf,
    file: &mut VersionedFile,
    mut faults: Faults,
    choices: &mut Reader<'_>,
) -> Option<SendHalf> {
    let mut crossed = 0;
    // After a changed length the receiver would wait for ever, so the session ends after a time.
    let timeout = if faults.flipped.is_some() { SESSION } else { Duration::MAX };
    while let Ok(Some(piece)) =
        tokio::time::timeout(timeout, next(&mut from, faults.there - crossed)).await
    {
        let mut piece = piece.to_vec();
        if let Some(byte) = faults.flipped.and_then(|at| piece.get_mut(at.checked_sub(crossed)?)) {
            *byte ^= 0x10;
        }
        crossed += piece.len();
        if faults.changed.is_some_and(|at| at <= crossed) {
            faults.changed = None;
            file.change(choices);
        }
        if to.write(piece.into()).await.is_err() {
            break;
        }
    }
    to.finish().await;
    (crossed < faults.there).then_some(to)
}

/// Carries the bytes of the receiver, at most `max`. Returns the stream if the receiver ended it
/// before a cut.
async fn carry_back(mut from: RecvHalf, mut to: SendHalf, max: usize) -> Option<SendHalf> {
    let mut crossed = 0;
    while let Some(piece) = next(&mut from, max - crossed).await {
        crossed += piece.len();
        if to.write(piece).await.is_err() {
            break;
        }
    }
    to.finish().await;
    (crossed < max).then_some(to)
}

fn receiver_path(outgoing: &std::path::Path) -> PathBuf {
    outgoing.with_file_name("Incoming")
}

/// The next piece, up to the limit of bytes; `None` at the end or the cut.
async fn next(from: &mut RecvHalf, left: usize) -> Option<Bytes> {
    if left == 0 {
        return None;
    }
    let (_, piece) = from.piece().await.ok()??;
    Some(piece.slice(..piece.len().min(left)))
}
