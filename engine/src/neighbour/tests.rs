use super::{BATCH, Door, FileRange, Neighbour, Part};
use manyhands_protocol::BlobHash;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const A: BlobHash = BlobHash([b'a'; 32]);
const B: BlobHash = BlobHash([b'b'; 32]);
const C: BlobHash = BlobHash([b'c'; 32]);
const GONE: BlobHash = BlobHash([b'g'; 32]);
const UNKNOWN: BlobHash = BlobHash([b'u'; 32]);

/// Nothing here takes so long.
const LIMIT: Duration = Duration::from_secs(10);

/// An open door, behind which one file holds A and B, another C.
struct House {
    folder: TempDir,
    name: String,
    serving: JoinHandle<()>,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one"), b"many hands").unwrap();
        std::fs::write(folder.path().join("two"), b"light work").unwrap();
        let path = |name: &str| -> Arc<Path> { folder.path().join(name).into() };
        let (one, two, gone) = (path("one"), path("two"), path("gone"));
        let find = move |hash| {
            let (file, offset, len) = match hash {
                A => (&one, 0, 4),
                B => (&one, 5, 5),
                C => (&two, 0, 10),
                GONE => (&gone, 0, 1),
                _ => return None,
            };
            let file = Arc::clone(file);
            Some(FileRange { file, offset, len })
        };
        let door = Door::open(number()).unwrap();
        Self {
            folder,
            name: door.name().to_owned(),
            serving: tokio::spawn(door.serve(find)),
        }
    }

    async fn neighbour(&self) -> Neighbour {
        Neighbour::connect(&self.name).await.unwrap()
    }
}

/// One that is in no other door's name.
fn number() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Asks off the thread that serves.
async fn ask(
    mut neighbour: Neighbour,
    wanted: Vec<(BlobHash, u64)>,
) -> (Neighbour, std::io::Result<Vec<Option<Part>>>) {
    let asking = move || {
        let answers = neighbour.ask(&wanted);
        (neighbour, answers)
    };
    tokio::task::spawn_blocking(asking).await.unwrap()
}

fn text(part: Option<&Part>) -> Option<String> {
    let part = part?;
    let mut bytes = vec![0; part.len as usize];
    part.file.read_exact_at(&mut bytes, part.offset).unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn parts_are_handed_over_in_the_order_in_which_they_are_asked_for() {
    let house = House::new();
    let neighbour = house.neighbour().await;
    let wanted = [(B, 5), (UNKNOWN, 3), (A, 4), (C, 10), (GONE, 1), (A, 4)];
    let (neighbour, found) = ask(neighbour, wanted.into()).await;
    let found = found.unwrap();
    let texts: Vec<_> = found.iter().map(|part| text(part.as_ref())).collect();
    let said = ["hands", "", "many", "light work", "", "many"];
    let said = said.map(|text| (!text.is_empty()).then(|| text.to_owned()));
    assert_eq!(texts, said);
    let file = |at: usize| &found[at].as_ref().unwrap().file;
    assert!(Arc::ptr_eq(file(0), file(2)), "one file is open once");
    assert!(!Arc::ptr_eq(file(2), file(3)));
    let refused = file(0).write_at(b"x", 0).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(9), "it is there to be read");
    // What is there has another length than it should have, or is shorter than it was.
    std::fs::write(house.folder.path().join("two"), b"light").unwrap();
    let (neighbour, found) = ask(neighbour, vec![(A, 5), (C, 10), (B, 5)]).await;
    let texts: Vec<_> = found.unwrap().iter().map(|p| text(p.as_ref())).collect();
    assert_eq!(texts, [None, None, Some("hands".to_owned())]);
    let (_, found) = ask(neighbour, vec![(B, 5); BATCH]).await;
    assert!(found.unwrap().iter().all(Option::is_some));
}

#[tokio::test]
async fn what_is_said_has_these_bytes() {
    let house = House::new();
    let address = SocketAddr::from_abstract_name(&house.name).unwrap();
    let talking = tokio::task::spawn_blocking(move || {
        let mut socket = UnixStream::connect_addr(&address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let asked = [&[3][..], &B.0, &UNKNOWN.0, &A.0].concat();
        socket.write_all(&asked).unwrap();
        let mut said = [0; 3 * 17];
        socket.read_exact(&mut said).map(|()| said).unwrap()
    });
    let said = talking.await.unwrap();
    let answer = |kind, offset, len| {
        let mut answer = [0; 17];
        (answer[0], answer[1], answer[9]) = (kind, offset, len);
        answer
    };
    let answers = [answer(1, 5, 5), answer(0, 0, 0), answer(2, 0, 4)];
    assert_eq!(said, *answers.concat());
}

#[tokio::test]
async fn nobody_waits_for_a_door_that_is_gone() {
    let house = House::new();
    let neighbour = house.neighbour().await;
    house.serving.abort();
    assert!(house.serving.await.unwrap_err().is_cancelled());
    let (_, found) = ask(neighbour, vec![(A, 4)]).await;
    found.unwrap_err();
    let refused = Neighbour::connect(&house.name).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn only_doors_are_connected_to() {
    for name in ["", "manyhands-", "/run/bus", "manyhands-0123456789abcde/"] {
        let refused = Neighbour::connect(name).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{name}");
    }
}

#[tokio::test]
async fn who_makes_no_sense_is_left_alone_and_others_are_served() {
    let house = House::new();
    for number in [0, 65, 255] {
        let address = SocketAddr::from_abstract_name(&house.name).unwrap();
        let talking = tokio::task::spawn_blocking(move || {
            let mut socket = UnixStream::connect_addr(&address).unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            let _ = socket.write_all(&[number; 1 + 32]);
            // It may be reset, since there is more than was read.
            let read = socket.read(&mut [0]);
            read.map_or_else(
                |error| error.kind() == ErrorKind::ConnectionReset,
                |n| n == 0,
            )
        });
        assert!(talking.await.unwrap(), "{number} hashes");
    }
    let (_, found) = ask(house.neighbour().await, vec![(A, 4)]).await;
    assert!(found.unwrap()[0].is_some());
}

#[tokio::test]
async fn who_finds_no_room_is_turned_away_until_somebody_goes() {
    let house = House::new();
    let mut guests = Vec::new();
    let turned_away = loop {
        let (guest, found) = ask(house.neighbour().await, vec![(A, 4)]).await;
        match found {
            Ok(_) => guests.push(guest),
            Err(error) => break error,
        }
        assert!(guests.len() <= 64);
    };
    let kinds = [
        ErrorKind::UnexpectedEof,
        ErrorKind::BrokenPipe,
        ErrorKind::ConnectionReset,
    ];
    assert!(kinds.contains(&turned_away.kind()), "{turned_away}");
    assert_eq!(guests.len(), 64);
    guests.clear();
    // That they have gone is seen some time later.
    let let_in = async { while ask(house.neighbour().await, vec![(A, 4)]).await.1.is_err() {} };
    timeout(LIMIT, let_in).await.unwrap();
}

/// Something else under a door's name.
fn impostor(answer: impl Fn(&UnixStream) + Send + 'static) -> String {
    let name = format!("manyhands-{:016x}", number());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.read_exact(&mut [0; 33]).unwrap();
        answer(&socket);
    });
    name
}

/// Answers with this kind, and gives what is no file with it.
fn give(socket: &UnixStream, kind: u8) {
    let (end, _) = UnixStream::pair().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let files = [std::os::fd::AsFd::as_fd(&end)];
    control.push(rustix::net::SendAncillaryMessage::ScmRights(&files));
    let mut said = [0; 17];
    said[0] = kind;
    let said = [IoSlice::new(&said)];
    let flags = rustix::net::SendFlags::empty();
    rustix::net::sendmsg(socket, &said, &mut control, flags).unwrap();
}

#[tokio::test]
async fn answers_that_make_no_sense_are_errors() {
    // A kind that there is not, a file that has not come, and an answer cut off.
    for said in [&[3; 17][..], &[2; 17], &[1; 17], &[0; 16]] {
        let name = impostor(move |mut socket| socket.write_all(said).unwrap());
        let neighbour = Neighbour::connect(&name).await.unwrap();
        ask(neighbour, vec![(A, 4)]).await.1.unwrap_err();
    }
    // An answer that never ends comes to one.
    let name = impostor(|mut socket| {
        while socket.write_all(&[0]).is_ok() {
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    let neighbour = Neighbour::connect(&name).await.unwrap();
    let (_, late) = timeout(LIMIT, ask(neighbour, vec![(A, 4)])).await.unwrap();
    late.unwrap_err();
    // A file that nobody asked for.
    let name = impostor(|socket| give(socket, 0));
    let neighbour = Neighbour::connect(&name).await.unwrap();
    ask(neighbour, vec![(A, 4)]).await.1.unwrap_err();
    // What is no file.
    let name = impostor(|socket| give(socket, 1));
    let neighbour = Neighbour::connect(&name).await.unwrap();
    let (_, found) = ask(neighbour, vec![(A, 0)]).await;
    assert!(found.unwrap()[0].is_none());
}
