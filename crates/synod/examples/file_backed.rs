//! A state that is larger than memory: a table of texts in a database of its own, on disk.
//!
//! `cargo run -p synod --example file_backed`
//!
//! Most states fit into memory, and implement `StateMachine`. This one implements `Machine`, which
//! is bytes, and three promises more: to make its state durable in one step when it is told to,
//! to copy it to a stream, and to begin anew from such a stream.
//!
//! Between two commits, a transaction of the database is open, and everything is written to it and
//! read from it. A crash undoes it; the log has what was in it.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::{
    error::Error,
    fs::{self, File},
    io::{self, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pollster::block_on;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};
use synod::{
    Completion, Connect, Local, Machine, Member, Node, Pipeline, Status,
    machine::{Restore, Snapshot},
};
use tempfile::TempPath;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const TEXTS: TableDefinition<'_, &str, &str> = TableDefinition::new("texts");
/// What the node wants to find again beside the state: which slots the state covers.
const FRAME: TableDefinition<'_, (), &[u8]> = TableDefinition::new("frame");

/// The name of the database, in the directory of the machine.
const NAME: &str = "texts.redb";
/// Memory that the database may use, however large it is.
const CACHE: usize = 16 << 20;

struct Texts {
    directory: PathBuf,
    database: Database,
    /// Everything since the last commit.
    open: Option<WriteTransaction>,
    /// The file that was made from a stream, until its first commit. It removes itself.
    incoming: Option<TempPath>,
    /// How many commands were performed in this life; for show.
    performed: Arc<AtomicU64>,
}

impl Texts {
    /// Opens the database in `directory`, in the state of the last commit.
    fn open(directory: &Path, performed: &Arc<AtomicU64>) -> Result<Self> {
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name() != NAME {
                fs::remove_file(entry.path())?; // A crash has left it: see `commit_all`.
            }
        }
        let database = database(&directory.join(NAME))?;
        sync(directory)?; // The file must not vanish when its contents are durable.
        Self::with(database, directory, performed)
    }

    fn with(database: Database, directory: &Path, performed: &Arc<AtomicU64>) -> Result<Self> {
        let open = Some(begin(&database)?);
        let (directory, performed) = (directory.to_owned(), performed.clone());
        Ok(Self { directory, database, open, incoming: None, performed })
    }

    /// A new database, from the stream of another node, beside the one in use.
    ///
    /// It becomes this node's own at its first commit. Until then the old one counts: the node may
    /// crash, or may not want the new one after all, and drops it.
    fn receive(directory: &Path, from: &mut dyn Read, performed: &Arc<AtomicU64>) -> Result<Self> {
        let file = tempfile::Builder::new().prefix("incoming-").tempfile_in(directory)?;
        let path = file.into_temp_path();
        let database = database(&path)?;
        let writing = begin(&database)?;
        {
            let mut texts = writing.open_table(TEXTS)?;
            let mut count = [0; 8];
            from.read_exact(&mut count)?;
            for _ in 0..u64::from_le_bytes(count) {
                texts.insert(get_text(from)?.as_str(), get_text(from)?.as_str())?;
            }
        }
        writing.commit()?; // Not on the node's event loop, later, when it would hold up the node.
        let received = Self::with(database, directory, performed)?;
        Ok(Self { incoming: Some(path), ..received })
    }

    fn transaction(&self) -> &WriteTransaction {
        self.open.as_ref().expect("a machine whose commit has failed is not used any more")
    }

    fn put(&self, key: &str, text: &str) -> Result<()> {
        self.transaction().open_table(TEXTS)?.insert(key, text)?;
        Ok(())
    }

    /// A text, and how many there are.
    fn get(&self, key: &str) -> Result<(Option<String>, u64)> {
        let texts = self.transaction().open_table(TEXTS)?;
        let text = redb::ReadableTable::get(&texts, key)?.map(|text| text.value().to_owned());
        Ok((text, texts.len()?))
    }

    /// The state and its frame become durable together. A new database replaces the old one when
    /// it is complete; the old file is gone when the last that uses it has closed it.
    fn commit_all(&mut self, frame: &[u8]) -> Result<()> {
        let open = self.open.take().ok_or("an earlier commit has failed")?;
        open.open_table(FRAME)?.insert((), frame)?;
        open.commit()?;
        if let Some(incoming) = self.incoming.take() {
            incoming.persist(self.directory.join(NAME))?;
            sync(&self.directory)?;
        }
        self.open = Some(begin(&self.database)?);
        Ok(())
    }

    fn frame(&self) -> Result<Option<Vec<u8>>> {
        let frames = self.transaction().open_table(FRAME)?;
        Ok(redb::ReadableTable::get(&frames, ())?.map(|frame| frame.value().to_vec()))
    }
}

impl Machine for Texts {
    /// A key and its text.
    type Command = (String, String);
    type Reply = ();
    /// A key.
    type Query = String;
    /// Its text, and how many texts there are.
    type Answer = (Option<String>, u64);

    fn apply(&mut self, command: &[u8], _: &mut Vec<u8>) {
        if let Ok((key, text)) = postcard::from_bytes(command) {
            or_stop(self.put(key, text));
            self.performed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn query(&self, key: &[u8], answer: &mut Vec<u8>) {
        if let Ok(key) = postcard::from_bytes(key) {
            put(&or_stop(self.get(key)), answer);
        }
    }

    fn commit(&mut self, frame: &[u8]) -> Option<io::Result<()>> {
        Some(self.commit_all(frame).map_err(io::Error::other))
    }

    fn committed(&self) -> Option<Vec<u8>> {
        or_stop(self.frame())
    }

    /// The node has committed right before this: the last commit is the state as it is now, and
    /// stays readable while the next commits are made.
    fn snapshot(&self) -> Snapshot {
        let reading = self.database.begin_read();
        Box::new(move |out| {
            send(&reading.map_err(io::Error::other)?, out).map_err(io::Error::other)
        })
    }

    fn restore(&self) -> Restore<Self> {
        let (directory, performed) = (self.directory.clone(), self.performed.clone());
        Box::new(move |from| Self::receive(&directory, from, &performed).map_err(io::Error::other))
    }

    fn encode_command(command: &Self::Command, out: &mut Vec<u8>) {
        put(command, out);
    }
    fn decode_reply(_: &[u8]) -> Option<()> {
        Some(())
    }
    fn encode_query(key: &String, out: &mut Vec<u8>) {
        put(key, out);
    }
    fn decode_answer(answer: &[u8]) -> Option<Self::Answer> {
        postcard::from_bytes(answer).ok()
    }
}

fn database(path: &Path) -> Result<Database> {
    Ok(Database::builder().set_cache_size(CACHE).create(path)?)
}

/// Begins a transaction, in a database that has both tables.
fn begin(database: &Database) -> Result<WriteTransaction> {
    let open = database.begin_write()?;
    open.open_table(TEXTS)?;
    open.open_table(FRAME)?;
    Ok(open)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Streams all texts: how many there are, then each key and text, with its length before it.
fn send(reading: &ReadTransaction, out: &mut dyn Write) -> Result<()> {
    let texts = reading.open_table(TEXTS)?;
    out.write_all(&texts.len()?.to_le_bytes())?;
    for entry in texts.range::<&str>(..)? {
        let (key, text) = entry?;
        for part in [key.value(), text.value()] {
            out.write_all(&u32::try_from(part.len())?.to_le_bytes())?;
            out.write_all(part.as_bytes())?;
        }
    }
    Ok(())
}

fn get_text(from: &mut dyn Read) -> Result<String> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let mut text = String::new();
    let len = u64::from(u32::from_le_bytes(len));
    if from.take(len).read_to_string(&mut text)? as u64 != len {
        return Err("the stream ends in the middle of a text".into());
    }
    Ok(text)
}

fn put<T: serde::Serialize>(value: &T, out: &mut Vec<u8>) {
    or_stop(postcard::to_io(value, out));
}

/// A node must not go on with a database that cannot be read or written: a panic stops the node,
/// and its owner is told why.
fn or_stop<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("the database fails: {error}"))
}

const COUNT: u64 = 3000;

/// A node, how many texts its database held when it started, and how many commands its machine has
/// performed since then.
struct Running {
    node: Node<Texts>,
    held: u64,
    performed: Arc<AtomicU64>,
}

impl Running {
    fn start(data: &Path, id: u32, peers: &[String]) -> Result<Self> {
        let performed = Arc::new(AtomicU64::new(0));
        let texts = Texts::open(&data.join(format!("texts-{id}")), &performed)?;
        let (_, held) = texts.get("")?;
        // A commit every 32 KiB of commands, so that there are some to be seen.
        let builder = Node::open_with(data.join(format!("node-{id}")), texts)?;
        let builder = builder.id(id).snapshot_every(32 << 10);
        let builder = match id {
            1..=3 => builder.peers(&peers[..3]),
            _ => builder.address(&peers[3]).join(&peers[..3]),
        };
        Ok(Self { node: block_on(builder.start())?, held, performed })
    }

    /// How the node is, when it is as wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Result<Status> {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            let status = block_on(self.node.status()).ok_or("the node has stopped")?;
            if wanted(&status) {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("node {} does not {what}", self.node.id()).into())
    }

    fn performed(&self) -> u64 {
        self.performed.load(Ordering::Relaxed)
    }

    /// How many texts there are on this node, after looking at the last one.
    fn count(&self) -> Result<u64> {
        let (text, count) = block_on(self.node.client().read(Local, key(COUNT - 1)))?;
        assert_eq!(text, Some(text_of(COUNT - 1)));
        Ok(count)
    }
}

fn key(number: u64) -> String {
    format!("key {number:08}")
}

fn text_of(number: u64) -> String {
    format!("text {number} ").repeat(8)
}

/// Writes all texts, with many commands in flight.
fn write(addresses: &[String]) -> Result<()> {
    let mut pipeline = Pipeline::<Texts>::connect(Connect::to(addresses))?;
    let (mut asked, mut done, mut came) = (0, 0, Vec::new());
    while done < COUNT {
        while asked < COUNT && asked - done < 256 {
            pipeline.call(&(key(asked), text_of(asked)), asked);
            asked += 1;
        }
        pipeline.poll(Duration::from_millis(100), &mut came);
        for (number, completion) in came.drain(..) {
            let Completion::Done(_) = completion else {
                return Err(format!("text {number}: {completion:?}").into());
            };
            done += 1;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let data = tempfile::tempdir()?;
    let (data, peers) = (data.path(), free_addresses(4)?);
    let mut nodes: Vec<Running> =
        (1..=3).map(|id| Running::start(data, id, &peers)).collect::<Result<_>>()?;
    write(&peers[..3])?;
    println!("{COUNT} texts are written, on three nodes");

    let third = nodes.pop().ok_or("there is no third node")?;
    third.wait("commit", |status| status.durable > status.slot_out / 2)?;
    println!("node 3 has performed {} commands; it is killed", third.performed());
    third.node.kill();
    let third = Running::start(data, 3, &peers)?;
    let status = block_on(nodes[0].node.status()).ok_or("node 1 has stopped")?;
    third.wait("catch up", |now| now.slot_out >= status.slot_out)?;
    let (held, again) = (third.held, third.performed());
    println!("node 3 is back: its database held {held} texts, {again} commands are done again");
    assert_eq!(third.count()?, COUNT, "nothing is lost");
    assert!(held > COUNT / 2 && held + again <= COUNT, "what it holds is not done again");
    nodes.push(third);

    // What all of them hold durably is dropped from the logs, so a newcomer cannot have it all
    // as commands.
    nodes[0].wait("collect", |status| {
        status.members.iter().all(|member| member.durable > status.slot_out / 2)
    })?;
    let fourth = Running::start(data, 4, &peers)?;
    let members = (1..).zip(&peers).map(|(id, address)| Member::new(id, address));
    block_on(nodes[0].node.client().ensure_members(members))?;
    let installed = fourth.wait("receive a snapshot", |status| {
        status.counters.get("snapshots_installed").is_some_and(|count| *count > 0)
    })?;
    println!(
        "node 4 is a member: {} texts, of which {} as commands and the rest as a stream",
        fourth.count()?,
        fourth.performed()
    );
    assert_eq!(installed.members.len(), 4);
    assert!(fourth.performed() < COUNT / 2, "most of it has come as a stream");

    // Its new database becomes its own with its first commit.
    let client = fourth.node.client();
    block_on(client.call((key(COUNT), text_of(COUNT))))?;
    block_on(client.snapshot())?;
    fourth.node.kill();
    let fourth = Running::start(data, 4, &peers)?;
    println!("node 4 is killed, and back: its database held {} texts", fourth.held);
    assert_eq!(fourth.held, COUNT + 1, "the database was replaced");
    Ok(())
}

/// Addresses on this machine that nobody uses.
fn free_addresses(count: usize) -> io::Result<Vec<String>> {
    let free: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    free.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect()
}
