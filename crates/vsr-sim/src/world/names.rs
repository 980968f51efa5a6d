//! How stories name replicas, clients, links and kinds of messages.

use std::fmt;
use std::str::FromStr;

use vsr_core::{Kind, ReplicaId};

/// The most replicas a simulated group has, voters and standbys.
pub const REPLICAS_MAX: u32 = 23;

/// The highest number of a simulated client: more would only make a story unreadable.
pub const CLIENT_NUMBER_MAX: u32 = 9_999;

/// One end of a link: a replica (`r0`) or a client (`c1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// A replica.
    Replica(ReplicaId),
    /// A client, by its number, from 1.
    Client(u32),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replica(id) => write!(f, "{id}"),
            Self::Client(number) => write!(f, "c{number}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` names neither a replica (r0) nor a client (c1)");
        let number = |digits: &str| -> Option<u32> {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        if let Some(id) = text.strip_prefix('r').and_then(number) {
            return if id < REPLICAS_MAX { Ok(Self::Replica(ReplicaId(id))) } else { Err(wrong()) };
        }
        match text.strip_prefix('c').and_then(number) {
            Some(id) if (1..=CLIENT_NUMBER_MAX).contains(&id) => Ok(Self::Client(id)),
            Some(_) | None => Err(wrong()),
        }
    }
}

/// A one-way link: `r0->r1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Who sends.
    pub from: Endpoint,
    /// Who receives.
    pub to: Endpoint,
}

impl Link {
    /// The link between two replicas.
    #[must_use]
    pub const fn between(from: ReplicaId, to: ReplicaId) -> Self {
        Self { from: Endpoint::Replica(from), to: Endpoint::Replica(to) }
    }

    /// Whether a client is at one end.
    #[must_use]
    pub const fn has_client(self) -> bool {
        matches!(self.from, Endpoint::Client(_)) || matches!(self.to, Endpoint::Client(_))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.from, self.to)
    }
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let links: Links = text.parse()?;
        match (links.from, links.to) {
            (Some(from), Some(to)) => Ok(Self { from, to }),
            (_, _) => Err(format!("`{text}`: name both ends of the link, as in r0->r1")),
        }
    }
}

/// One or more links: `r0->r1`, or with `*` for all replicas at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Links {
    /// Who sends; `None` is every replica.
    pub from: Option<Endpoint>,
    /// Who receives; `None` is every replica.
    pub to: Option<Endpoint>,
}

impl Links {
    /// Whether a link is among these.
    #[must_use]
    pub fn contains(self, link: Link) -> bool {
        let fits = |pattern: Option<Endpoint>, end: Endpoint| match pattern {
            Some(one) => one == end,
            None => matches!(end, Endpoint::Replica(_)),
        };
        fits(self.from, link.from) && fits(self.to, link.to)
    }
}

impl From<Link> for Links {
    fn from(link: Link) -> Self {
        Self { from: Some(link.from), to: Some(link.to) }
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |end: Option<Endpoint>| end.map_or_else(|| "*".to_owned(), |end| end.to_string());
        write!(f, "{}->{}", end(self.from), end(self.to))
    }
}

impl FromStr for Links {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((from, to)) = text.split_once("->") else {
            return Err(format!("`{text}` is not a link: write r0->r1"));
        };
        let end = |text: &str| -> Result<Option<Endpoint>, String> {
            if text == "*" { Ok(None) } else { text.parse().map(Some) }
        };
        let (from, to) = (end(from)?, end(to)?);
        let clients =
            [from, to].iter().filter(|end| matches!(end, Some(Endpoint::Client(_)))).count();
        if clients == 2 {
            return Err(format!("`{text}`: clients do not speak to one another"));
        }
        if from.is_some() && from == to {
            return Err(format!("`{text}`: nobody sends to itself"));
        }
        Ok(Self { from, to })
    }
}

macro_rules! kinds {
    ($($variant:ident $name:literal,)* ; later $($later:literal,)*) => {
        /// What a message on a link is, by its name in stories.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum KindName {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
            /// A kind that this version does not have yet.
            Later(&'static str),
        }

        impl KindName {
            /// The kinds of this version.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in stories: the paper's, in lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Later(name) => name,
                }
            }
        }

        impl FromStr for KindName {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($name => Ok(Self::$variant),)*
                    $($later => Ok(Self::Later($later)),)*
                    _ => Err(format!("`{text}` is not a kind of message")),
                }
            }
        }
    };
}

kinds! {
    Request "request",
    Register "register",
    Read "read",
    Reply "reply",
    Registered "registered",
    Evicted "evicted",
    Redirect "redirect",
    Refused "refused",
    Inform "inform",
    ReadReply "read-reply",
    ReadRefused "read-refused",
    Ping "ping",
    Prepare "prepare",
    PrepareOk "prepare-ok",
    Commit "commit",
    StartViewChange "start-view-change",
    DoViewChange "do-view-change",
    StartView "start-view",
    GetView "get-view",
    GetHeaders "get-headers",
    Headers "headers",
    GetEntry "get-entry",
    Entry "entry",
    Nack "nack",
    ReadProbe "read-probe",
    ReadOk "read-ok",
    GetCheckpoint "get-checkpoint",
    Checkpoint "checkpoint",
    GetChunk "get-chunk",
    Chunk "chunk",
    NoChunk "no-chunk",
    Recovery "recovery",
    RecoveryResponse "recovery-response",
    PreStep "pre-step",
    PreStepOk "pre-step-ok",
    ; later
    "start-epoch",
    "epoch-started",
    "check-epoch",
    "new-epoch",
}

impl KindName {
    /// The name of a message between replicas.
    #[must_use]
    pub const fn of<B>(kind: &Kind<B>) -> Self {
        match kind {
            Kind::Ping { .. } => Self::Ping,
            Kind::Prepare { .. } => Self::Prepare,
            Kind::PrepareOk { .. } => Self::PrepareOk,
            Kind::Commit { .. } => Self::Commit,
            Kind::StartViewChange { .. } => Self::StartViewChange,
            Kind::DoViewChange { .. } => Self::DoViewChange,
            Kind::StartView { .. } => Self::StartView,
            Kind::GetView { .. } => Self::GetView,
            Kind::GetHeaders { .. } => Self::GetHeaders,
            Kind::Headers { .. } => Self::Headers,
            Kind::GetEntry { .. } => Self::GetEntry,
            Kind::Entry { .. } => Self::Entry,
            Kind::Nack { .. } => Self::Nack,
            Kind::ReadProbe { .. } => Self::ReadProbe,
            Kind::ReadOk { .. } => Self::ReadOk,
            Kind::GetCheckpoint { .. } => Self::GetCheckpoint,
            Kind::Checkpoint { .. } => Self::Checkpoint,
            Kind::GetChunk { .. } => Self::GetChunk,
            Kind::Chunk { .. } => Self::Chunk,
            Kind::NoChunk { .. } => Self::NoChunk,
            Kind::Recovery { .. } => Self::Recovery,
            Kind::RecoveryResponse { .. } => Self::RecoveryResponse,
            Kind::PreStep { .. } => Self::PreStep,
            Kind::PreStepOk { .. } => Self::PreStepOk,
        }
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_they_are_printed() {
        for text in ["r0->r1", "c1->r0", "r22->c9999", "*->r1", "r0->*", "*->*"] {
            assert_eq!(text.parse::<Links>().unwrap().to_string(), text);
        }
        for kind in KindName::ALL {
            assert_eq!(kind.name().parse::<KindName>().unwrap(), *kind);
        }
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        for text in ["r23->r0", "c0->r0", "r0-r1", "r0->r0", "c1->c2", "r->r1", "r+1->r0"] {
            assert!(text.parse::<Links>().is_err(), "{text}");
        }
        assert!("prepares".parse::<KindName>().is_err());
    }
}
