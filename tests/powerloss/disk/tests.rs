use super::*;

fn enter(dir: Node, leaf: &str, node: Node) -> Event {
    Event::Part(Part::Enter { dir, leaf: leaf.into(), node })
}

fn leave(dir: Node, leaf: &str, renamed: usize) -> Event {
    Event::Part(Part::Leave { dir, leaf: leaf.into(), renamed: Some(renamed) })
}

fn write(node: Node, data: &[u8]) -> Event {
    Event::Part(Part::Write { node, offset: 0, data: data.to_vec() })
}

fn sync(cover: Cover) -> Event {
    Event::Sync(Sync { cover, place: "", path: PathBuf::new() })
}

fn inode(body: Body) -> Inode {
    Inode { body, mode: None, modified: None, volume: 0 }
}

fn empty() -> Disk {
    Disk { nodes: BTreeMap::from([(ROOT, inode(Body::Folder(BTreeMap::new())))]) }
}

/// Nodes 1 and 2 are folders, 3 and 4 files.
fn log(events: Vec<Event>) -> Log {
    let folder = || inode(Body::Folder(BTreeMap::new()));
    let file = || inode(Body::File(Vec::new()));
    Log {
        events,
        born: BTreeMap::from([(1, folder()), (2, folder()), (3, file()), (4, file())]),
        whole_renames: false,
    }
}

fn left(log: &Log, loss: Loss) -> Disk {
    let safe = log.safe_from(&empty());
    log.after_loss(&empty(), &safe, log.events.len(), loss)
}

#[test]
fn only_synced_parts_are_durable() {
    let events =
        vec![enter(ROOT, "f", 3), write(3, b"one"), sync(Cover::File(3)), write(3, b"two")];
    assert_eq!(left(&log(events.clone()), Loss::All).file("f"), None);
    assert_eq!(left(&log(events.clone()), Loss::Nothing).file("f"), Some(&b"two"[..]));
    assert_eq!(left(&log(events.clone()), Loss::Content).file("f"), Some(&b"one"[..]));
    let new = vec![enter(ROOT, "f", 3), write(3, b"one")];
    assert_eq!(left(&log(new), Loss::Zeros).file("f"), Some(&[0; 3][..]));
    assert_eq!(left(&log(events.clone()), Loss::Zeros).file("f"), Some(&b"one"[..]));
    let named = [events, vec![sync(Cover::Names(ROOT))]].concat();
    assert_eq!(left(&log(named.clone()), Loss::All).file("f"), Some(&b"one"[..]));
    let all = [named, vec![sync(Cover::Volume(0))]].concat();
    assert_eq!(left(&log(all.clone()), Loss::All).file("f"), Some(&b"two"[..]));
    let other = log(all).without(|sync| sync.cover == Cover::Volume(0));
    assert_eq!(left(&other, Loss::All).file("f"), Some(&b"one"[..]));
}

#[test]
fn a_name_in_a_folder_without_a_name_is_lost() {
    let events = vec![
        enter(ROOT, "d", 1),
        enter(1, "f", 3),
        write(3, b"x"),
        sync(Cover::File(3)),
        sync(Cover::Names(1)),
    ];
    let disk = left(&log(events.clone()), Loss::All);
    assert_eq!(disk, empty());
    let disk = left(&log([events, vec![sync(Cover::Names(ROOT))]].concat()), Loss::All);
    assert_eq!(disk.file("d/f"), Some(&b"x"[..]));
}

#[test]
fn a_rename_adds_the_new_name_before_it_removes_the_old_one() {
    let folders = vec![enter(ROOT, "a", 1), enter(ROOT, "b", 2), enter(1, "f", 3)];
    let begun =
        [folders, vec![sync(Cover::Volume(0)), enter(2, "f", 3), leave(1, "f", 4)]].concat();
    let paths = |events: Vec<Event>| {
        let disk = left(&log(events), Loss::All);
        ["a/f", "b/f"].map(|path| disk.file(path).is_some())
    };
    assert_eq!(paths(begun.clone()), [true, false]);
    assert_eq!(paths([begun.clone(), vec![sync(Cover::Names(2))]].concat()), [true, true]);
    let taken = log([begun, vec![sync(Cover::Names(1))]].concat());
    let there = |log: &Log| ["a/f", "b/f"].map(|path| left(log, Loss::All).file(path).is_some());
    assert_eq!(there(&taken), [false, false]);
    assert_eq!(there(&Log { whole_renames: true, ..taken }), [false, true]);
    // The rename alone does not remove the old name before the folders above the new name are
    // durable.
    let begun =
        vec![enter(ROOT, "a", 1), enter(1, "f", 3), sync(Cover::Volume(0)), enter(ROOT, "b", 2)];
    let renamed = log([begun, vec![enter(2, "f", 3), leave(1, "f", 4)]].concat());
    for seed in 0..200 {
        let disk = left(&renamed, Loss::Some(seed));
        assert!(disk.file("a/f").is_some() || disk.file("b/f").is_some(), "{seed}");
    }
}

#[test]
fn random_losses_keep_the_order_of_names_and_whole_pages() {
    let names = ["p", "q", "r"];
    let mut events: Vec<_> = names.iter().map(|leaf| enter(ROOT, leaf, 4)).collect();
    events.extend(pages(4, 100, &[7; 9000]).into_iter().map(Event::Part));
    let log = log(events);
    let (mut counts, mut contents) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..200 {
        let disk = left(&log, Loss::Some(seed));
        let there: Vec<_> = names.iter().filter(|leaf| disk.file(leaf).is_some()).collect();
        assert!(names.iter().zip(&there).all(|(name, there)| name == *there), "{there:?}");
        counts.insert(there.len());
        if let Some(content) = disk.file("p") {
            let page = |from: usize, to: usize| {
                let page = content.get(from..to)?;
                page.iter().all(|byte| *byte == page[0]).then_some(page[0])
            };
            contents.insert((page(100, 4096), page(4096, 8192), page(8192, 9100)));
        }
    }
    assert_eq!(counts, BTreeSet::from([0, 1, 2, 3]));
    assert!(contents.len() > 6, "{contents:?}");
}
