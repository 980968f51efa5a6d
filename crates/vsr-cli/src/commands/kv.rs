//! `vsr kv`: one operation, or one of the streams of them.

use std::fs;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use vsr_kv::{Answer, OPERATION_MAX, Operation};

use super::{dump, jsonl, load};
use crate::cli::{ClientArgs, KvArgs, KvCommand, ReadPolicy, Verb};
use crate::context::Context;
use crate::error::{Failure, Outcome};
use crate::output::{print_answer, print_line};
use crate::remote::Remote;
use crate::verbs::{self, bytes};

/// The largest file of a transaction: JSON needs at most six bytes for one, and has names around.
const TRANSACTION_FILE_MAX: u64 = 8 * OPERATION_MAX as u64;

pub(crate) async fn run(args: KvArgs) -> Outcome {
    if let ReadPolicy::Later(policy) = &args.read {
        return Err(Failure::not_supported(&format!("`--read {policy}`")));
    }
    let client = &args.client;
    match args.command {
        None if args.jsonl => jsonl::run(client, args.sessions, &args.read).await,
        None => {
            Err(Failure::usage("no operation", "try `vsr kv put KEY VALUE`, or `vsr kv --help`"))
        }
        Some(_) if args.jsonl => Err(Failure::usage(
            "--jsonl reads its operations from standard input",
            "leave the operation out",
        )),
        Some(KvCommand::Watch(_)) => Err(Failure::not_supported("`vsr kv watch`")),
        Some(KvCommand::Load { file, window }) => load::run(client, &file, window as usize).await,
        Some(KvCommand::Dump) => dump::run(connect(client)?.reading(&args.read)).await,
        Some(KvCommand::Verb(Verb::Range { prefix, limit })) => {
            range(&connect(client)?.reading(&args.read), &bytes(prefix), limit).await
        }
        Some(KvCommand::Verb(Verb::Get { key })) => {
            get(&connect(client)?.reading(&args.read), bytes(key)).await
        }
        Some(KvCommand::Verb(verb)) => {
            let operation = operation(verb)?;
            verbs::run(&connect(client)?, &operation).await
        }
    }
}

/// A connection for one operation at a time.
///
/// # Errors
/// The client's file or certificate cannot be used.
pub(crate) fn connect(client: &ClientArgs) -> Outcome<Remote> {
    let context = Context::find(client.context.as_deref())?;
    Remote::connect(&context, 1, client.deadline)
}

fn operation(verb: Verb) -> Outcome<Operation> {
    Ok(match verb {
        Verb::Put { key, value } => Operation::Put { key: bytes(key), value: bytes(value) },
        Verb::Get { key } => Operation::Get { key: bytes(key) },
        Verb::Del { key } => Operation::Delete { key: bytes(key) },
        Verb::Cas { key, old, new } => Operation::Cas {
            key: bytes(key),
            expect: (old != "-").then(|| bytes(old)),
            value: bytes(new),
        },
        Verb::Incr { key, by } => Operation::Increment { key: bytes(key), by },
        Verb::Append { key, value } => Operation::Append { key: bytes(key), value: bytes(value) },
        Verb::Range { prefix, limit } => Operation::Range {
            prefix: bytes(prefix),
            after: None,
            limit: limit.unwrap_or(u32::MAX),
        },
        Verb::Txn { file } => transaction(&file)?,
    })
}

fn transaction(file: &Path) -> Outcome<Operation> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(TRANSACTION_FILE_MAX + 1).read_to_string(&mut text)
    } else {
        let open = fs::File::open(file);
        open.and_then(|file| file.take(TRANSACTION_FILE_MAX + 1).read_to_string(&mut text))
    };
    let length = read.map_err(|error| Failure::file("read", file, &error))?;
    if length as u64 > TRANSACTION_FILE_MAX {
        return Err(Failure::usage(
            format!("{} is larger than any transaction", file.display()),
            format!("an operation has at most {OPERATION_MAX} bytes: make several of it"),
        ));
    }
    jsonl::transaction(&text).map_err(|message| {
        Failure::usage(
            format!("{} is no transaction: {message}", file.display()),
            "`vsr kv txn --help` shows how one is written",
        )
    })
}

/// Prints a value's bytes as they are, and a line's end.
async fn get(remote: &Remote, key: Bytes) -> Outcome {
    let operation = Operation::Get { key };
    let answer = remote.ask(&operation).await?;
    if let Answer::Value(Some(value)) = &answer {
        return print_answer(value);
    }
    verbs::print(&operation, &answer)
}

async fn range(remote: &Remote, prefix: &Bytes, limit: Option<u32>) -> Outcome {
    verbs::pages(remote, prefix, limit, |pairs| {
        print_line(Answer::Pairs { pairs, more: false }.to_string().as_bytes())
    })
    .await
}
