//! `vsr format`: makes a data directory, explicitly and once, so that an empty directory is never
//! mistaken for a new replica.

use std::fs;
use std::path::Path;

use uuid::Uuid;
use vsr_core::{
    ClusterId, Configuration, ConfigurationError, Constants, Member, ReplicaId, Role, StoreId,
};
use vsr_storage::{FileDisk, Format, Store};

use crate::cli::FormatArgs;
use crate::error::{Failure, Outcome, Status};
use crate::output::{print_line, say};

pub(crate) fn run(args: &FormatArgs) -> Outcome {
    if !args.witness.is_empty() {
        return Err(Failure::not_supported("`--witness`"));
    }
    let peers = peers(&args.peers)?;
    format(&args.dir, args.cluster, args.replica, &peers, &args.new.constants()?)?;
    print_line(b"ok")?;
    say(&format!(
        "next: issue its certificate with `vsr cert node {} --ca CA --dir {dir}`, then `vsr start --dir {dir}`",
        args.replica,
        dir = args.dir.display()
    ));
    Ok(())
}

/// Formats a data directory, which is created if it is not there.
///
/// # Errors
/// The directory holds a store already, or the peers make no group.
pub(crate) fn format(
    dir: &Path,
    cluster: Uuid,
    replica: u32,
    peers: &[(u32, String)],
    constants: &Constants,
) -> Outcome {
    let members = peers.iter().map(|(id, _)| Member { id: ReplicaId(*id), role: Role::Full });
    let usage = |error: ConfigurationError| {
        let hint = if let ConfigurationError::Constant(_) = error {
            "give --checkpoint-every other rules"
        } else {
            "give every replica once: --peers 0=HOST:PORT,1=HOST:PORT,..."
        };
        Failure::usage(error.to_string(), hint)
    };
    let format = Format {
        cluster: ClusterId(cluster.as_u128()),
        replica: ReplicaId(replica),
        store: StoreId(Uuid::new_v4().as_u128()),
        configuration: Configuration::new(members.collect()).map_err(usage)?,
        constants: *constants,
        addresses: peers.iter().map(|(id, at)| (ReplicaId(*id), at.clone())).collect(),
    };
    format.config().map_err(usage)?;
    fs::create_dir_all(dir).map_err(|error| Failure::file("create", dir, &error))?;
    let disk = FileDisk::open(dir).map_err(|error| {
        Failure::new(
            Status::of_storage(error.exit_status()),
            format!("cannot format {}: {error}", dir.display()),
            "stop the process that uses it, or choose another directory",
        )
    })?;
    Store::format(&disk, &format).map_err(|error| {
        let status = Status::of_storage(error.exit_status());
        Failure::new(status, format!("cannot format {}: {error}", dir.display()), "")
    })
}

/// Reads `0=HOST:PORT`.
///
/// # Errors
/// Says which part is wrong.
pub(crate) fn peers(words: &[String]) -> Outcome<Vec<(u32, String)>> {
    let mut peers = words.iter().map(|word| peer(word)).collect::<Outcome<Vec<_>>>()?;
    peers.sort();
    if let Some(pair) = peers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Failure::usage(
            format!("replica {} is named twice in --peers", pair[0].0),
            "give every replica once: --peers 0=HOST:PORT,1=HOST:PORT,...",
        ));
    }
    let mut addresses: Vec<&str> = peers.iter().map(|(_, address)| address.as_str()).collect();
    addresses.sort_unstable();
    if let Some(pair) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Failure::usage(
            format!("two replicas have the address {}", pair[0]),
            "give every replica an address of its own",
        ));
    }
    Ok(peers)
}

fn peer(word: &str) -> Outcome<(u32, String)> {
    let parts = word.split_once('=').and_then(|(id, address)| {
        let (host, port) = address.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        // Without brackets nobody could tell where an IPv6 address ends and its port begins.
        let bracketed = host.starts_with('[') && host.ends_with(']');
        (!host.is_empty() && port > 0 && (bracketed || !host.contains(':'))).then_some(())?;
        Some((id.parse().ok()?, address.to_owned()))
    });
    parts.ok_or_else(|| {
        Failure::usage(
            format!("`{word}` is not NUMBER=HOST:PORT"),
            "write --peers 0=HOST:PORT,1=HOST:PORT,...; an IPv6 address in brackets: 0=[::1]:8771",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_numbers_with_addresses_each_once() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            peers(&words)
        };
        let expected = vec![(0, "[::1]:2".to_owned()), (1, "a:1".to_owned())];
        assert_eq!(read(&["1=a:1", "0=[::1]:2"]), Ok(expected));
        for wrong in [
            &["0=a:1", "0=b:1"][..],
            &["0=a:1", "1=a:1"],
            &["0=::1:8771"],
            &["0=a"],
            &["0=a:"],
            &["0=:1"],
            &["0=a:0"],
            &["0=a:99999"],
            &["x=a:1"],
            &[""],
        ] {
            assert!(!read(wrong).unwrap_err().hint.is_empty(), "{wrong:?}");
        }
    }
}
