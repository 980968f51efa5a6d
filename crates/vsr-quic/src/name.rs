//! What a certificate says of its holder: one URI, `vsr://CLUSTER/replica/N` for a replica,
//! `vsr://CLUSTER/client/NAME?role=ROLE` for a client.
//!
//! CLUSTER is the cluster's UUID, N the replica's number, NAME one to [`NAME_LENGTH_MAX`] of
//! `a-z A-Z 0-9 . _ -`, ROLE `read-only`, `read-write` or `admin`. There is one way to write each
//! name: what does not come out of [`Name::to_string`] letter by letter is refused, so that two
//! spellings never mean one holder.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;
use vsr_core::{ClusterId, ReplicaId, Subject};
use vsr_tokio::{Access, Identity};

/// The most letters in a client's name: it appears in log lines and in `status`.
pub const NAME_LENGTH_MAX: usize = 64;

/// The holder of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// A replica.
    Replica {
        /// Its cluster.
        cluster: ClusterId,
        /// Its number.
        replica: ReplicaId,
    },
    /// A client.
    Client {
        /// The cluster it may talk to.
        cluster: ClusterId,
        /// Its name.
        name: ClientName,
        /// What it may do there.
        access: Access,
    },
}

/// A client's name: one to [`NAME_LENGTH_MAX`] of `a-z A-Z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientName(String);

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not of either form.
    #[error(
        "`{0}` is neither vsr://CLUSTER/replica/N nor vsr://CLUSTER/client/NAME?role=ROLE: \
         issue the certificate with `vsr cert`"
    )]
    Form(String),
    /// The name of a client has a letter it may not have, none, or too many.
    #[error(
        "`{0}` cannot be a client's name: use 1 to {max} of a-z A-Z 0-9 . _ -",
        max = NAME_LENGTH_MAX
    )]
    ClientName(String),
    /// Not one of the roles.
    #[error("`{0}` is not a role: use read-only, read-write or admin")]
    Role(String),
}

impl Name {
    /// The cluster that the holder belongs to.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        match self {
            Self::Replica { cluster, .. } | Self::Client { cluster, .. } => *cluster,
        }
    }

    /// Whom the driver is told a client is; `None` for a replica.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Self::Replica { .. } => None,
            Self::Client { cluster, name, access } => Some(Identity {
                name: name.0.clone(),
                subject: subject(*cluster, name),
                access: *access,
            }),
        }
    }
}

/// What a client's sessions are bound to: its name without its role, so that a client whose role
/// changes, or whose certificate is renewed, keeps its sessions.
fn subject(cluster: ClusterId, name: &ClientName) -> Subject {
    let text = format!("vsr://{}/client/{}", uuid(cluster), name.0);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let half = digest.as_ref()[..16].try_into();
    Subject(u128::from_le_bytes(half.expect("SHA-256 has 32 bytes")))
}

/// A cluster's id as people write it.
#[must_use]
pub(crate) const fn uuid(cluster: ClusterId) -> Uuid {
    Uuid::from_u128(cluster.0)
}

/// A role as certificates and the command line spell it.
#[must_use]
pub const fn role(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "read-write",
        Access::Admin => "admin",
    }
}

/// The role of that spelling.
///
/// # Errors
/// [`NameError::Role`] for any other.
pub fn parse_role(text: &str) -> Result<Access, NameError> {
    [Access::ReadOnly, Access::ReadWrite, Access::Admin]
        .into_iter()
        .find(|access| role(*access) == text)
        .ok_or_else(|| NameError::Role(text.to_owned()))
}

impl ClientName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (1..=NAME_LENGTH_MAX).contains(&text.len()) && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::ClientName(text.to_owned()))
        }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replica { cluster, replica } => {
                write!(f, "vsr://{}/replica/{}", uuid(*cluster), replica.0)
            }
            Self::Client { cluster, name, access } => {
                write!(f, "vsr://{}/client/{name}?role={}", uuid(*cluster), role(*access))
            }
        }
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let form = || NameError::Form(text.to_owned());
        let path = text.strip_prefix("vsr://").ok_or_else(form)?;
        let mut parts = path.splitn(3, '/');
        let (Some(cluster), Some(kind), Some(rest)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(form());
        };
        let cluster = ClusterId(Uuid::try_parse(cluster).map_err(|_| form())?.as_u128());
        let name = match kind {
            "replica" => {
                Self::Replica { cluster, replica: ReplicaId(rest.parse().map_err(|_| form())?) }
            }
            "client" => {
                let (name, role) = rest.split_once("?role=").ok_or_else(form)?;
                Self::Client { cluster, name: name.parse()?, access: parse_role(role)? }
            }
            _ => return Err(form()),
        };
        if name.to_string() == text { Ok(name) } else { Err(form()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

    #[test]
    fn a_name_reads_back_as_it_was_written() {
        for text in [
            format!("vsr://{CLUSTER}/replica/0"),
            format!("vsr://{CLUSTER}/replica/4294967295"),
            format!("vsr://{CLUSTER}/client/web-1.example_a?role=read-write"),
            format!("vsr://{CLUSTER}/client/ops?role=admin"),
            format!("vsr://{CLUSTER}/client/report?role=read-only"),
        ] {
            let name: Name = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for text in [
            String::new(),
            "vsr://".to_owned(),
            format!("https://{CLUSTER}/replica/1"),
            format!("VSR://{CLUSTER}/replica/1"),
            format!("vsr://{}/replica/1", CLUSTER.to_uppercase()),
            format!("vsr://{}/replica/1", CLUSTER.replace('-', "")),
            format!("vsr://{CLUSTER}/replica/01"),
            format!("vsr://{CLUSTER}/replica/+1"),
            format!("vsr://{CLUSTER}/replica/-1"),
            format!("vsr://{CLUSTER}/replica/4294967296"),
            format!("vsr://{CLUSTER}/replica/1/"),
            format!("vsr://{CLUSTER}/replica/1?role=admin"),
            format!("vsr://{CLUSTER}/replicas/1"),
            format!("vsr://{CLUSTER}/client/a"),
            format!("vsr://{CLUSTER}/client/?role=admin"),
            format!("vsr://{CLUSTER}/client/a/b?role=admin"),
            format!("vsr://{CLUSTER}/client/a b?role=admin"),
            format!("vsr://{CLUSTER}/client/a\n?role=admin"),
            format!("vsr://{CLUSTER}/client/\u{e4}?role=admin"),
            format!("vsr://{CLUSTER}/client/a?role=root"),
            format!("vsr://{CLUSTER}/client/a?role=admin&role=read-only"),
            format!("vsr://{CLUSTER}/client/{}?role=admin", "a".repeat(65)),
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_subject_outlives_a_change_of_role_and_differs_between_names_and_clusters() {
        let subject = |cluster: &str, name: &str, role: &str| {
            let name: Name = format!("vsr://{cluster}/client/{name}?role={role}").parse().unwrap();
            name.identity().unwrap().subject
        };
        let other = "00000000-0000-4000-8000-000000000000";
        assert_eq!(subject(CLUSTER, "a", "admin"), subject(CLUSTER, "a", "read-only"));
        assert_ne!(subject(CLUSTER, "a", "admin"), subject(CLUSTER, "b", "admin"));
        assert_ne!(subject(CLUSTER, "a", "admin"), subject(other, "a", "admin"));
    }
}
