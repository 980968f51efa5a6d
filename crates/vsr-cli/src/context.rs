//! The client's file: which cluster, where its replicas are, and whose certificate to show.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Failure, Outcome};

/// Where a client's file is looked for when nobody names one.
pub(crate) const DEFAULT_PATH: &str = "vsr-dev/client.toml";

/// The largest file that is read: one of seven replicas has less than 1 KiB.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The content of `client.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// The cluster's id.
    pub(crate) cluster: Uuid,
    /// The client's certificate, `NAME.pem`; relative paths start at this file. Beside it lie
    /// `NAME.key` and the authority's `ca.pem`.
    pub(crate) certificate: PathBuf,
    /// Where each replica is, by its number.
    pub(crate) replicas: BTreeMap<String, String>,
}

impl Context {
    /// Reads the file that was named, or the default one below the working directory.
    ///
    /// # Errors
    /// A usage failure that says which file and what to do.
    pub(crate) fn find(named: Option<&Path>) -> Outcome<Self> {
        let path = named.unwrap_or_else(|| Path::new(DEFAULT_PATH));
        if named.is_none() && !path.exists() {
            return Err(Failure::usage(
                format!("there is no {DEFAULT_PATH} here, and no other client's file was named"),
                "start a cluster with `vsr dev`, or name a client's file by --context FILE or VSR_CONTEXT",
            ));
        }
        Self::read(path)
    }

    /// Reads a client's file.
    ///
    /// # Errors
    /// A usage failure that says which file and what to do.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let metadata = fs::metadata(path).map_err(|error| Failure::file("read", path, &error))?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(Failure::usage(
                format!("{} is not a client's file", path.display()),
                "`vsr dev` writes one: DIR/client.toml",
            ));
        }
        let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
        let mut context: Self = toml::from_str(&text).map_err(|error| {
            Failure::usage(
                format!("{} is not a client's file: {}", path.display(), error.message()),
                "it holds `cluster`, `certificate` and a table `[replicas]`; `vsr dev` writes one",
            )
        })?;
        if let Some(beside) = path.parent() {
            context.certificate = beside.join(&context.certificate);
        }
        context.replicas()?;
        Ok(context)
    }

    /// Writes the file, replacing one that is there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Outcome {
        let content = toml::to_string(self).map_err(|error| {
            Failure::usage(format!("cannot write {}: {error}", path.display()), "report this")
        })?;
        let text = format!(
            "# How a client finds this cluster: `vsr kv --context THIS-FILE get KEY`.\n\
             # Beside the certificate NAME.pem lie its key NAME.key and the authority's ca.pem.\n{content}"
        );
        fs::write(path, text).map_err(|error| Failure::file("write", path, &error))
    }

    /// The replicas by number, ascending.
    ///
    /// # Errors
    /// A number is none, or there are no replicas.
    pub(crate) fn replicas(&self) -> Outcome<Vec<(u32, String)>> {
        let mut replicas = Vec::with_capacity(self.replicas.len());
        for (id, address) in &self.replicas {
            let id = id.parse().map_err(|_| {
                Failure::usage(
                    format!("`{id}` under [replicas] is not a replica's number"),
                    "write lines like 0 = \"127.0.0.1:8771\"",
                )
            })?;
            replicas.push((id, address.clone()));
        }
        replicas.sort();
        if replicas.is_empty() {
            return Err(Failure::usage(
                "the client's file names no replica",
                "add lines like 0 = \"127.0.0.1:8771\" under [replicas]",
            ));
        }
        Ok(replicas)
    }

    /// The directory and the file name, without extension, of the certificate and its key.
    ///
    /// # Errors
    /// The path is not one of a `NAME.pem`.
    pub(crate) fn credentials(&self) -> Outcome<(&Path, &str)> {
        let named = self.certificate.extension().is_some_and(|extension| extension == "pem");
        let stem = self.certificate.file_stem().and_then(|stem| stem.to_str());
        match (self.certificate.parent(), stem) {
            (Some(directory), Some(stem)) if named => Ok((directory, stem)),
            _ => Err(Failure::usage(
                format!(
                    "`{}` is not the path of a certificate NAME.pem",
                    self.certificate.display()
                ),
                "issue one with `vsr cert client`",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Context {
        Context {
            cluster: Uuid::from_u128(7),
            certificate: PathBuf::from("client/client.pem"),
            replicas: [(10, "[::1]:9"), (2, "host:8771")]
                .map(|(id, address)| (u32::to_string(&id), address.to_owned()))
                .into(),
        }
    }

    #[test]
    fn a_written_file_reads_back_with_paths_from_its_own_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("client.toml");
        example().write(&path).unwrap();
        let read = Context::read(&path).unwrap();
        assert_eq!(read.certificate, directory.path().join("client/client.pem"));
        assert_eq!(read.credentials().unwrap().1, "client");
        let ids: Vec<u32> = read.replicas().unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [2, 10]);
    }

    #[test]
    fn every_other_file_is_refused_with_a_next_step() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("client.toml");
        let whole = toml::to_string(&example()).unwrap();
        for text in [
            String::new(),
            "\0\u{1}".to_owned(),
            format!("colour = 1\n{whole}"),
            whole.replace("10 =", "ten ="),
            whole.replace("00000000", "0000000x"),
        ] {
            fs::write(&path, text).unwrap();
            assert!(!Context::read(&path).unwrap_err().hint.is_empty());
        }
        assert!(Context::read(directory.path()).is_err());
    }
}
