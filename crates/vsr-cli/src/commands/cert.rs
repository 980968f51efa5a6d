//! `vsr cert`: the cluster's authority, what it issues, and what a certificate says.

use std::path::{Path, PathBuf};

use uuid::Uuid;
use vsr_core::{ClusterId, ReplicaId};
use vsr_quic::certificates::{
    AUTHORITY_VALIDITY, Authority, Description, HOLDER_VALIDITY, REPLICA_STEM,
};
use vsr_quic::{Name, TLS_FOLDER, parse_role};

use super::format::peers;
use crate::cli::CertCommand;
use crate::context::Context;
use crate::error::{Failure, Outcome, of_certificate};
use crate::output::{print_line, say};

pub(crate) fn run(command: CertCommand) -> Outcome {
    match command {
        CertCommand::Ca { dir, cluster } => {
            let cluster = cluster.unwrap_or_else(Uuid::new_v4);
            authority(&dir, cluster)?;
            say(&format!("{}: keep ca.key secret, it decides who is a replica", dir.display()));
            print_line(cluster.to_string().as_bytes())
        }
        CertCommand::Node { replica, ca, dir } => {
            let authority = Authority::load(&ca).map_err(of_certificate)?;
            issue_replica(&authority, replica, &dir)?;
            print_line(b"ok")
        }
        CertCommand::Client { name, ca, dir, role, peers: words } => {
            let replicas = peers(&words)?;
            let file = dir.join("client.toml");
            if !replicas.is_empty() && file.exists() {
                return Err(Failure::usage(
                    format!("{} is there already, perhaps another client's", file.display()),
                    "choose another --dir; or leave --peers out, and write a client's file yourself",
                ));
            }
            let authority = Authority::load(&ca).map_err(of_certificate)?;
            issue_client(&authority, &name, &role, &dir)?;
            if !replicas.is_empty() {
                client_file(&authority, PathBuf::from(format!("{name}.pem")), &replicas)
                    .write(&file)?;
                say(&format!("next: vsr kv --context {} get KEY", file.display()));
            }
            print_line(b"ok")
        }
        CertCommand::Show { file } => {
            let description = Description::read(&file).map_err(of_certificate)?;
            print_line(description.to_string().as_bytes())
        }
    }
}

/// Makes a cluster's authority.
///
/// # Errors
/// There is one already, or the directory cannot be written.
pub(crate) fn authority(dir: &Path, cluster: Uuid) -> Outcome<Authority> {
    Authority::create(dir, ClusterId(cluster.as_u128()), AUTHORITY_VALIDITY).map_err(of_certificate)
}

/// Issues a replica's certificate into its data directory.
///
/// # Errors
/// It has one already, or the directory cannot be written.
pub(crate) fn issue_replica(authority: &Authority, replica: u32, data: &Path) -> Outcome {
    let name = Name::Replica { cluster: authority.cluster(), replica: ReplicaId(replica) };
    authority
        .issue(&name, &data.join(TLS_FOLDER), REPLICA_STEM, HOLDER_VALIDITY)
        .map_err(of_certificate)
}

/// Issues a client's certificate.
///
/// # Errors
/// The name or role is none, there is one already, or the directory cannot be written.
pub(crate) fn issue_client(authority: &Authority, name: &str, role: &str, dir: &Path) -> Outcome {
    let usage = |error: vsr_quic::NameError| Failure::usage(error.to_string(), "");
    let holder = Name::Client {
        cluster: authority.cluster(),
        name: name.parse().map_err(usage)?,
        access: parse_role(role).map_err(usage)?,
    };
    authority.issue(&holder, dir, name, HOLDER_VALIDITY).map_err(of_certificate)
}

/// The client's file of a cluster.
pub(crate) fn client_file(
    authority: &Authority,
    certificate: PathBuf,
    replicas: &[(u32, String)],
) -> Context {
    let replicas = replicas.iter().map(|(id, address)| (id.to_string(), address.clone())).collect();
    Context { cluster: Uuid::from_u128(authority.cluster().0), certificate, replicas }
}
