//! Certificates: written for the owner's eyes only, read with suspicion.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets anything else fails"
)]
mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use common::{CLUSTER, Certificates, VALIDITY};
use vsr_core::ReplicaId;
use vsr_quic::Name;
use vsr_quic::certificates::{Authority, CertificateError, Credentials, Description, REPLICA_STEM};
use vsr_tokio::Access;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn replica(number: u32) -> Name {
    Name::Replica { cluster: CLUSTER, replica: ReplicaId(number) }
}

#[test]
fn keys_are_readable_by_their_owner_only() {
    let certificates = Certificates::new();
    certificates.replica(0);
    for (folder, key) in [("ca", "ca.key"), ("replica0", "node.key")] {
        let folder = certificates.folder_of(folder);
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(key)), 0o600);
    }
}

#[test]
fn a_key_that_others_could_read_is_refused_with_the_command_that_mends_it() {
    let certificates = Certificates::new();
    certificates.replica(0);
    let folder = certificates.folder_of("replica0");
    let key = folder.join("node.key");
    for bits in [0o640, 0o604, 0o660, 0o644, 0o611] {
        fs::set_permissions(&key, Permissions::from_mode(bits)).unwrap();
        let error = Credentials::load(&folder, REPLICA_STEM).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("chmod 600 {}", key.display())), "{text}");
    }
    fs::set_permissions(&key, Permissions::from_mode(0o400)).unwrap();
    Credentials::load(&folder, REPLICA_STEM).unwrap();
}

#[test]
fn nothing_is_ever_overwritten() {
    let certificates = Certificates::new();
    let before = certificates.replica(0);
    let folder = certificates.folder_of("replica0");
    let again = certificates.authority.issue(before.name(), &folder, REPLICA_STEM, VALIDITY);
    assert!(matches!(again, Err(CertificateError::Exists(_))));
    let ca = Authority::create(&certificates.folder_of("ca"), CLUSTER, VALIDITY);
    assert!(matches!(ca, Err(CertificateError::Exists(_))));
    Credentials::load(&folder, REPLICA_STEM).unwrap();
}

#[test]
fn half_a_pair_is_not_left_behind() {
    let certificates = Certificates::new();
    let folder = certificates.folder_of("replica0");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("node.pem"), "something").unwrap();
    let issued = certificates.authority.issue(&replica(0), &folder, REPLICA_STEM, VALIDITY);
    assert!(matches!(issued, Err(CertificateError::Exists(_))));
    assert!(!folder.join("node.key").exists());
}

#[test]
fn the_authority_can_be_loaded_and_goes_on_issuing() {
    let certificates = Certificates::new();
    let authority = Authority::load(&certificates.folder_of("ca")).unwrap();
    assert_eq!(authority.cluster(), CLUSTER);
    let folder = certificates.folder_of("late");
    authority.issue(&replica(1), &folder, REPLICA_STEM, VALIDITY).unwrap();
    let loaded = Credentials::load_replica(&folder, CLUSTER, ReplicaId(1)).unwrap();
    assert_eq!(*loaded.name(), replica(1));
}

#[test]
fn a_replica_does_not_start_with_the_certificate_of_another() {
    let certificates = Certificates::new();
    certificates.replica(2);
    let folder = certificates.folder_of("replica2");
    let error = Credentials::load_replica(&folder, CLUSTER, ReplicaId(1)).unwrap_err();
    assert!(matches!(error, CertificateError::WrongHolder { .. }));
    assert!(error.to_string().contains("replica/2"), "{error}");
}

#[test]
fn an_authority_issues_for_its_own_cluster_only() {
    let certificates = Certificates::new();
    let foreign = Name::Replica { cluster: vsr_core::ClusterId(1), replica: ReplicaId(0) };
    let folder = certificates.folder_of("foreign");
    let issued = certificates.authority.issue(&foreign, &folder, REPLICA_STEM, VALIDITY);
    assert!(matches!(issued, Err(CertificateError::WrongCluster { .. })));
    assert!(!folder.exists());
}

#[test]
fn an_expired_certificate_is_refused_at_the_start_with_its_date() {
    let certificates = Certificates::new();
    let folder = certificates.folder_of("expired");
    // Valid until now: over at the next tick of the clock's second, which is waited for.
    certificates.authority.issue(&replica(0), &folder, REPLICA_STEM, Duration::ZERO).unwrap();
    let end = Description::read(&folder.join("node.pem")).unwrap().not_after;
    while time::OffsetDateTime::now_utc() <= end {
        std::thread::yield_now();
    }
    let error = Credentials::load(&folder, REPLICA_STEM).unwrap_err();
    assert!(matches!(error, CertificateError::Time { .. }), "{error}");
    assert!(error.to_string().contains("expired on"), "{error}");
    let shown = Description::read(&folder.join("node.pem")).unwrap().to_string();
    assert!(shown.contains("EXPIRED"), "{shown}");
}

#[test]
fn a_certificate_of_another_authority_or_of_another_key_is_refused() {
    let certificates = Certificates::new();
    let others = Certificates::new();
    certificates.replica(0);
    others.replica(0);
    let folder = certificates.folder_of("replica0");
    let theirs = others.folder_of("replica0");
    let keep = fs::read(folder.join("ca.pem")).unwrap();
    fs::copy(theirs.join("ca.pem"), folder.join("ca.pem")).unwrap();
    let error = Credentials::load(&folder, REPLICA_STEM).unwrap_err();
    assert!(matches!(error, CertificateError::WrongAuthority { .. }), "{error}");
    fs::write(folder.join("ca.pem"), keep).unwrap();
    fs::copy(theirs.join("node.key"), folder.join("node.key")).unwrap();
    let error = Credentials::load(&folder, REPLICA_STEM).unwrap_err();
    assert!(matches!(error, CertificateError::KeyMismatch { .. }), "{error}");
}

#[test]
fn files_that_are_no_certificates_are_refused_by_name_and_without_their_content() {
    let certificates = Certificates::new();
    certificates.replica(0);
    let folder = certificates.folder_of("replica0");
    let (certificate, key) = (folder.join("node.pem"), folder.join("node.key"));
    let good = (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
    let huge = vec![b'x'; 1 << 20];
    for bad in [&b""[..], b"secret", b"\xff\xfe\x00", &good.0[..40], &huge] {
        fs::write(&certificate, bad).unwrap();
        let error = Credentials::load(&folder, REPLICA_STEM).unwrap_err().to_string();
        assert!(error.contains("node.pem"), "{error}");
        fs::write(&certificate, &good.0).unwrap();
        fs::write(&key, bad).unwrap();
        let error = Credentials::load(&folder, REPLICA_STEM).unwrap_err().to_string();
        assert!(error.contains("node.key") && !error.contains("secret"), "{error}");
        fs::write(&key, &good.1).unwrap();
    }
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    let error = Credentials::load(&folder, REPLICA_STEM).unwrap_err();
    assert!(matches!(error, CertificateError::NotAFile(_)), "{error}");
    fs::remove_dir(&key).unwrap();
    let error = Credentials::load(&folder, REPLICA_STEM).unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
}

#[test]
fn a_certificate_can_be_shown() {
    let certificates = Certificates::new();
    certificates.client("reports", Access::ReadOnly);
    let path = certificates.folder_of("reports").join("node.pem");
    let shown = Description::read(&path).unwrap().to_string();
    for part in [
        "name         vsr://67e55044-10b1-426f-9247-bb680e5fe0c8/client/reports?role=read-only",
        "subject      CN=vsr client reports",
        "issuer       CN=vsr cluster 67e55044-10b1-426f-9247-bb680e5fe0c8",
        "may issue    no",
    ] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
}

#[test]
fn nothing_printed_for_debugging_holds_a_key() {
    let certificates = Certificates::new();
    let credentials = certificates.replica(0);
    let shown = format!("{credentials:?} {:?}", certificates.authority);
    assert!(shown.len() < 400, "{shown}");
}
