//! `vsr version`.

use crate::error::Outcome;
use crate::output::print_line;

pub(crate) fn run(verbose: bool) -> Outcome {
    print_line(format!("vsr {}", env!("CARGO_PKG_VERSION")).as_bytes())?;
    if verbose {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        for (name, value) in [
            ("wire version", vsr_wire::VERSION.to_string()),
            ("storage format", vsr_storage::FORMAT_VERSION.to_string()),
            ("peer protocol", protocol(vsr_quic::PEER_PROTOCOL)),
            ("client protocol", protocol(vsr_quic::CLIENT_PROTOCOL)),
            ("JSON schema", crate::output::SCHEMA.to_string()),
            ("build", build.to_owned()),
            ("platform", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)),
        ] {
            print_line(format!("{name:<16} {value}").as_bytes())?;
        }
    }
    Ok(())
}

fn protocol(alpn: &[u8]) -> String {
    String::from_utf8_lossy(alpn).into_owned()
}
