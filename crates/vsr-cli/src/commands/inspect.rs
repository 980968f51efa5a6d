//! `vsr inspect`: a data directory without its replica: reading only, without the lock, also where it
//! is damaged.

use std::path::Path;

use uuid::Uuid;
use vsr_core::{
    Constants, Durability, Entry, Header, OpNumber, Request, SessionState, StoredSlot,
    SuperblockState,
};
use vsr_kv::Operation;
use vsr_storage::{
    CheckpointInfo, FileDisk, Finding, Inspection, OpenError, SuperblockCopy, superblock_copies,
};

use crate::cli::{InspectArgs, InspectCommand};
use crate::error::{Failure, Outcome, Status};
use crate::output::{print_line, say};

/// How many of an entry's requests are shown.
const REQUESTS_SHOWN: usize = 1024;

pub(crate) fn run(args: &InspectArgs) -> Outcome {
    let dir = args.dir.as_path();
    match args.command {
        InspectCommand::Superblock => superblock(dir),
        InspectCommand::Log => log(&open(dir)?),
        InspectCommand::Op { op } => entry(&open(dir)?, OpNumber(op)),
        InspectCommand::Verify => verify(dir),
        InspectCommand::Checkpoint => checkpoints(dir),
        InspectCommand::Sessions => sessions(dir),
    }
}

fn disk(dir: &Path) -> Outcome<FileDisk> {
    FileDisk::open_read_only(dir).map_err(|error| {
        Failure::new(
            Status::of_storage(error.exit_status()),
            format!("cannot read {}: {error}", dir.display()),
            "name a replica's data directory: --dir DIR",
        )
    })
}

fn open(dir: &Path) -> Outcome<Inspection<FileDisk>> {
    Inspection::open(&disk(dir)?).map_err(|error| unreadable(dir, &error))
}

fn unreadable(dir: &Path, error: &vsr_storage::OpenError) -> Failure {
    let status = Status::of_storage(error.exit_status());
    Failure::new(status, format!("cannot read {}: {error}", dir.display()), "")
}

fn superblock(dir: &Path) -> Outcome {
    let copies = superblock_copies(&disk(dir)?).map_err(|error| unreadable(dir, &error))?;
    let good = copies.iter().filter_map(|copy| copy.content.as_ref().ok());
    let latest = good.max_by_key(|content| content.0);
    if let Some((_, format, state)) = latest {
        let members = format.addresses.iter();
        let members = members.map(|(id, address)| format!("{}={address}", id.0));
        for (name, value) in [
            ("cluster", Uuid::from_u128(format.cluster.0).to_string()),
            ("replica", format.replica.0.to_string()),
            ("members", members.collect::<Vec<_>>().join(",")),
            ("durability", durability_name(format.constants.durability).to_owned()),
            ("checkpoints", checkpoint_rules(&format.constants)),
        ] {
            print_line(format!("{name:<12} {value}").as_bytes())?;
        }
        state_lines(state).try_for_each(|line| print_line(line.as_bytes()))?;
    }
    for SuperblockCopy { copy, content } in &copies {
        let text = match content {
            Ok((generation, _, _)) => format!("generation {generation}"),
            Err(error) => format!("DAMAGED: {error}"),
        };
        print_line(format!("copy {copy}       {text}").as_bytes())?;
    }
    Ok(())
}

/// As `vsr format --checkpoint-every` takes them.
fn checkpoint_rules(constants: &Constants) -> String {
    let Constants { checkpoint_interval, checkpoint_bytes, checkpoint_time, .. } = *constants;
    let rules = [
        (checkpoint_interval > 0, checkpoint_interval.to_string()),
        (checkpoint_bytes > 0, format!("{checkpoint_bytes}B")),
        (checkpoint_time > 0, format!("{}ms", checkpoint_time / 1_000_000)),
    ];
    let rules: Vec<String> = rules.into_iter().filter(|rule| rule.0).map(|rule| rule.1).collect();
    if rules.is_empty() { "never".to_owned() } else { format!("every {}", rules.join(", ")) }
}

const fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::Sync => "sync",
        Durability::Memory => "memory: the log is not here, and was lost when the process ended",
    }
}

fn state_lines(state: &SuperblockState) -> impl Iterator<Item = String> {
    [
        ("incarnation", state.incarnation.0),
        ("epoch", u64::from(state.epoch.0)),
        ("view", state.view.0),
        ("log view", state.log_view.0),
        ("commit", state.commit_max.0),
        ("op", state.op.0),
        ("headers", state.headers.len() as u64),
    ]
    .into_iter()
    .map(|(name, value)| format!("{name:<12} {value}"))
}

fn log(store: &Inspection<FileDisk>) -> Outcome {
    for slot in store.slots(OpNumber(1), store.last_op()) {
        let text = match slot.slot {
            StoredSlot::Empty => "empty".to_owned(),
            StoredSlot::Held(header) => format!("held    {}", header_text(&header)),
            StoredSlot::Faulty(header) => format!("FAULTY  {}", header_text(&header)),
            StoredSlot::Unreadable => "UNREADABLE".to_owned(),
        };
        print_line(format!("op {:<8} {text}", slot.op.0).as_bytes())?;
    }
    Ok(())
}

fn header_text(header: &Header) -> String {
    format!(
        "view {} epoch {} {:?} requests {} bytes {} time {}",
        header.view.0, header.epoch.0, header.kind, header.count, header.length, header.timestamp.0
    )
}

fn entry(store: &Inspection<FileDisk>, op: OpNumber) -> Outcome {
    let Some(entry) = store.entry(op) else {
        let (first, last) = (store.first_op(), store.last_op());
        if op < first || op > last {
            return Err(Failure::refused(
                format!("the log has no op {op}"),
                format!("it has those from {first} to {last}; a checkpoint has what was before"),
            ));
        }
        return Err(Failure::new(
            Status::Damaged,
            format!("the record of op {op} cannot be read"),
            "`vsr inspect verify` says what is wrong; a replica that runs has it repaired",
        ));
    };
    print_line(format!("op {op} {}", header_text(entry.header())).as_bytes())?;
    requests(&entry).try_for_each(|line| print_line(line.as_bytes()))
}

fn requests<'a>(entry: &'a Entry<bytes::Bytes>) -> impl Iterator<Item = String> + 'a {
    entry.requests().iter().take(REQUESTS_SHOWN).map(|request| match request {
        Request::Register { client, .. } => format!("  {client} registers"),
        Request::Operation { session, number, body, .. } => {
            let operation = Operation::decode(body).map_or_else(
                |_| format!("{} bytes that are no operation of the key-value service", body.len()),
                |operation| operation.to_string(),
            );
            format!("  session {}@{} #{number} {operation}", session.slot, session.number)
        }
    })
}

fn checkpoints(dir: &Path) -> Outcome {
    let disk = disk(dir)?;
    let store = Inspection::open(&disk).map_err(|error| unreadable(dir, &error))?;
    let found = store.checkpoints(&disk).map_err(|error| unreadable(dir, &error))?;
    let named = store.state().checkpoint;
    for info in &found.whole {
        let CheckpointInfo { id, header, chunks, bytes } = info;
        let used = if *id == named.id { "  a restart begins here" } else { "" };
        let (op, view) = (header.op.0, header.view.0);
        let text = format!("op {op:<8} view {view} chunks {chunks} bytes {bytes} id {id:?}{used}");
        print_line(text.as_bytes())?;
    }
    for (op, id) in &found.unreadable {
        print_line(format!("op {:<8} UNREADABLE id {id:?}", op.0).as_bytes())?;
    }
    let is_there = found.whole.iter().any(|info| info.id == named.id);
    if named.op() > OpNumber::ZERO && !is_there {
        return Err(Failure::new(
            Status::Damaged,
            format!("the checkpoint at op {} cannot be read, and a restart needs it", named.op()),
            "`vsr inspect verify` says what is wrong",
        ));
    }
    if found.whole.is_empty() {
        say("no checkpoint was taken yet: a restart begins at op 1");
    }
    Ok(())
}

fn sessions(dir: &Path) -> Outcome {
    let disk = disk(dir)?;
    let store = Inspection::open(&disk).map_err(|error| unreadable(dir, &error))?;
    let sessions = store.sessions(&disk).map_err(|error| unreadable(dir, &error))?;
    for (slot, session) in &sessions {
        let SessionState { client, number, executed, last_op, kept, .. } = session;
        let text = format!(
            "session {slot}@{number} client {client} executed {executed} at op {last_op} replies kept {}",
            kept.len()
        );
        print_line(text.as_bytes())?;
    }
    let op = store.state().checkpoint.op();
    say(&format!("{} sessions at op {op}, that of the latest checkpoint", sessions.len()));
    Ok(())
}

fn verify(dir: &Path) -> Outcome {
    let disk = disk(dir)?;
    let copies = superblock_copies(&disk).map_err(|error| unreadable(dir, &error))?;
    let store = match Inspection::open(&disk) {
        Ok(store) => store,
        Err(error) => {
            let mut damaged = 0_u64;
            for SuperblockCopy { copy, content } in &copies {
                if let Err(error) = content {
                    damaged += 1;
                    print_line(format!("superblock copy {copy}: {error}").as_bytes())?;
                }
            }
            if !matches!(error, OpenError::InMemory) {
                return Err(unreadable(dir, &error));
            }
            if damaged > 0 {
                return Err(is_damaged(damaged, dir));
            }
            say("the superblock is whole; the log was in memory");
            return Ok(());
        }
    };
    let mut damaged = 0_u64;
    let mut printed = Ok(());
    let verified = store.verify(&disk, |finding: Finding| {
        damaged += u64::from(finding.is_damage());
        if printed.is_ok() {
            printed = print_line(finding.to_string().as_bytes());
        }
    });
    printed?;
    verified.map_err(|error| unreadable(dir, &error))?;
    if damaged == 0 {
        say(&format!("{} ops, nothing damaged", store.last_op()));
        return Ok(());
    }
    Err(is_damaged(damaged, dir))
}

fn is_damaged(damaged: u64, dir: &Path) -> Failure {
    Failure::new(
        Status::Damaged,
        format!("{damaged} things are damaged in {}", dir.display()),
        "start the replica: it has them repaired by the others as far as they can, and says what they cannot",
    )
}
