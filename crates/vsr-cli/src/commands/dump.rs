//! `vsr kv dump`: every key and its value, a page at a time. What is written while it runs may or
//! may not be in it.

use std::io::{self, BufWriter, Write};

use bytes::Bytes;

use crate::error::{Failure, Outcome};
use crate::output::output_gone;
use crate::remote::Remote;
use crate::verbs::pages;

pub(crate) async fn run(remote: Remote) -> Outcome {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut left_out = 0_u64;
    let written = pages(&remote, &Bytes::new(), None, |pairs| {
        for (key, value) in pairs {
            if is_line(&key, &value) {
                write_pair(&mut out, &key, &value).map_err(|error| output_gone(&error))?;
            } else {
                left_out += 1;
            }
        }
        Ok(())
    })
    .await;
    out.flush().map_err(|error| output_gone(&error))?;
    written?;
    if left_out > 0 {
        return Err(Failure::refused(
            format!(
                "{left_out} keys were left out: a tab in a key, or the end of a line, cannot be written as KEY TAB VALUE"
            ),
            "`vsr kv range` shows them in quotes",
        ));
    }
    Ok(())
}

/// Whether `load` would read the line back as the same pair.
fn is_line(key: &[u8], value: &[u8]) -> bool {
    !key.iter().any(|byte| matches!(byte, b'\t' | b'\n')) && !value.contains(&b'\n')
}

fn write_pair(out: &mut impl Write, key: &[u8], value: &[u8]) -> io::Result<()> {
    out.write_all(key)?;
    out.write_all(b"\t")?;
    out.write_all(value)?;
    out.write_all(b"\n")
}
