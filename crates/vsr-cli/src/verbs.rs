//! Operations on keys and how their answers are printed: the same for `vsr kv` and for the shell.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use bytes::Bytes;
use vsr_kv::{Answer, Operation, RANGE_PAIRS_MAX};

use crate::error::{Failure, Outcome};
use crate::output::{print_answer, say};
use crate::remote::Remote;

/// Bytes of an argument, as they came.
pub(crate) fn bytes(argument: OsString) -> Bytes {
    argument.into_vec().into()
}

/// Has an operation executed and prints its answer.
///
/// # Errors
/// What went wrong, or what was refused.
pub(crate) async fn run(remote: &Remote, operation: &Operation) -> Outcome {
    let answer = remote.ask(operation).await?;
    print(operation, &answer)
}

/// Prints an answer on as many lines as it has parts.
///
/// # Errors
/// The answer is that nothing was done.
pub(crate) fn print(operation: &Operation, answer: &Answer) -> Outcome {
    match answer {
        Answer::Value(None) => Err(Failure::refused(
            format!("no such key: `{operation}`"),
            "`put KEY VALUE` sets it, `range PREFIX` shows those there are",
        )),
        Answer::Bool(false) => {
            print_answer(b"false")?;
            Err(Failure::refused(
                format!("nothing was changed: `{operation}`"),
                "`get KEY` shows the value as it is",
            ))
        }
        Answer::Aborted { .. } | Answer::Failed(_) => Err(Failure::refused(
            answer.to_string(),
            "nothing was changed; `get KEY` shows a value as it is",
        )),
        Answer::Pairs { pairs, more } => {
            if !pairs.is_empty() {
                let whole = Answer::Pairs { pairs: pairs.clone(), more: false };
                print_answer(whole.to_string().as_bytes())?;
            }
            if *more && let Some((last, _)) = pairs.last() {
                let last = Answer::Value(Some(last.clone()));
                say(&format!("there are more: add `after {last}` or a higher limit"));
            }
            Ok(())
        }
        Answer::Ok
        | Answer::Value(Some(_))
        | Answer::Bool(true)
        | Answer::Number(_)
        | Answer::Results(_) => print_answer(answer.to_string().as_bytes()),
    }
}

/// Calls `each` with every page of the pairs with a prefix, at most `limit` pairs in all.
///
/// # Errors
/// A page could not be had, or what `each` says.
pub(crate) async fn pages(
    remote: &Remote,
    prefix: &Bytes,
    limit: Option<u32>,
    mut each: impl FnMut(Vec<(Bytes, Bytes)>) -> Outcome,
) -> Outcome {
    let mut after = None;
    let mut left = limit.unwrap_or(u32::MAX);
    while left > 0 {
        let page = left.min(RANGE_PAIRS_MAX as u32);
        let operation = Operation::Range { prefix: prefix.clone(), after, limit: page };
        let Answer::Pairs { pairs, more } = remote.ask(&operation).await? else {
            return Err(Failure::new(
                crate::error::Status::Version,
                "the cluster answered a range with something else",
                "use the same version as the replicas",
            ));
        };
        let Some((last, _)) = pairs.last() else { return Ok(()) };
        after = Some(last.clone());
        left -= (pairs.len() as u32).min(left);
        each(pairs)?;
        if !more {
            return Ok(());
        }
    }
    Ok(())
}
