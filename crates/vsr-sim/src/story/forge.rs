//! `forge r2->r0 prepare-ok view=0 op=1`: a message that nobody sent, its fields as in a transcript.

use std::collections::BTreeMap;

use bytes::Bytes;
use vsr_core::{
    Checksum, Committed, Entry, Epoch, Header, Incarnation, Kept, Kind, Message, Nonce, OpNumber,
    SuffixSlot, ViewNumber, Voters,
};

use crate::world::cluster::CLUSTER;
use crate::world::names::{Endpoint, KindName, Link};
use crate::world::packet::Payload;
use crate::world::store::Store;
use crate::world::{Refused, World};

/// The checksum of an entry that nobody has.
const NOBODYS: Checksum = Checksum(0x0bad_0000_0bad_0000);

/// Reads a forged message.
pub(crate) fn message<S: Store>(
    world: &World<S>,
    link: Link,
    kind: KindName,
    fields: &str,
) -> Result<Payload, Refused> {
    let (Endpoint::Replica(from), Endpoint::Replica(_)) = (link.from, link.to) else {
        return Err(Refused::NotSupported("forged messages of clients".to_owned()));
    };
    let fields = Fields::parse(fields)?;
    let view = ViewNumber(fields.number("view", None)?);
    let reader = Reader { world, fields, view };
    let kind = reader.kind(kind)?;
    Ok(Payload::Message(Message {
        cluster: match reader.fields.get("cluster") {
            Some(_) => vsr_core::ClusterId(reader.fields.number("cluster", None)?.into()),
            None => CLUSTER,
        },
        epoch: Epoch(reader.fields.number("epoch", Some(0))? as u32),
        view,
        incarnation: match reader.fields.get("incarnation") {
            Some(_) => Incarnation(reader.fields.number("incarnation", None)?),
            None => world.incarnation(from),
        },
        kind,
    }))
}

struct Fields {
    values: BTreeMap<String, String>,
}

impl Fields {
    /// `name=value`, where a value may stand in brackets and then contain blanks.
    fn parse(text: &str) -> Result<Self, Refused> {
        let mut values = BTreeMap::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let Some((name, after)) = rest.split_once('=') else {
                return Err(Refused::Impossible(format!("`{rest}`: fields are name=value")));
            };
            let (value, left) = match after.strip_prefix('[') {
                Some(inside) => inside.split_once(']').ok_or_else(|| {
                    Refused::Impossible(format!("`{after}`: the bracket is not closed"))
                })?,
                None => after.split_once(' ').unwrap_or((after, "")),
            };
            values.insert(name.trim().to_owned(), value.trim().to_owned());
            rest = left.trim();
        }
        Ok(Self { values })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn number(&self, name: &str, default: Option<u64>) -> Result<u64, Refused> {
        match (self.get(name), default) {
            (Some("max"), _) => Ok(u64::MAX),
            (Some(text), _) => text.parse().map_err(|_| {
                Refused::Impossible(format!("`{name}={text}`: the value is not a number"))
            }),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(Refused::Impossible(format!("the field `{name}=` is missing"))),
        }
    }
}

struct Reader<'a, S> {
    world: &'a World<S>,
    fields: Fields,
    view: ViewNumber,
}

impl<S: Store> Reader<'_, S> {
    fn kind(&self, kind: KindName) -> Result<Kind<Bytes>, Refused> {
        Ok(match kind {
            KindName::Ping => Kind::Ping {
                log_view: ViewNumber(self.fields.number("log-view", Some(self.view.0))?),
                op: OpNumber(self.fields.number("op", Some(0))?),
                commit: self.committed(self.fields.number("commit", Some(0))?),
                heard: Voters::default(),
                kept: Kept::default(),
            },
            KindName::Prepare => Kind::Prepare {
                entry: self.entry(self.named("op")?)?,
                commit: self.committed(self.fields.number("commit", Some(0))?),
            },
            KindName::PrepareOk => {
                let name = self.named("op")?;
                Kind::PrepareOk {
                    op: name.op,
                    checksum: self.checksum(name)?,
                    commit_min: OpNumber(self.fields.number("commit", Some(0))?),
                }
            }
            KindName::Commit => {
                Kind::Commit { commit: self.committed(self.fields.number("commit", None)?) }
            }
            KindName::StartViewChange => Kind::StartViewChange {
                log_view: ViewNumber(self.fields.number("log-view", Some(self.view.0))?),
            },
            KindName::DoViewChange => self.do_view_change()?,
            KindName::StartView => Kind::StartView {
                commit_max: OpNumber(self.fields.number("commit", Some(0))?),
                suffix: self.list("log")?.iter().map(|name| self.header(*name)).collect::<Result<
                    Vec<Header>,
                    Refused,
                >>(
                )?,
                nonce: self.nonce()?,
            },
            KindName::GetView => {
                Kind::GetView { nonce: self.nonce()?.unwrap_or_default(), uncertain: None }
            }
            KindName::GetHeaders => Kind::GetHeaders {
                first: OpNumber(self.fields.number("first", None)?),
                last: OpNumber(self.fields.number("last", None)?),
            },
            KindName::Headers => Kind::Headers {
                headers: self.list("log")?.iter().map(|name| self.header(*name)).collect::<Result<
                    Vec<Header>,
                    Refused,
                >>(
                )?,
            },
            KindName::GetEntry => {
                let wanted = self.list("wanted")?;
                let wanted = wanted.iter().map(|name| Ok((name.op, self.checksum(*name)?)));
                Kind::GetEntry { wanted: wanted.collect::<Result<Vec<_>, Refused>>()? }
            }
            KindName::Entry => {
                let entry = self.entry(self.named("op")?)?;
                Kind::Entry { entry: self.with_value(entry)? }
            }
            KindName::PreStepOk => Kind::PreStepOk {
                nonce: self.nonce()?.unwrap_or_default(),
                value: self.fields.get("value").unwrap_or("").as_bytes().to_vec().into(),
            },
            KindName::Nack => {
                let name = self.named("op")?;
                Kind::Nack { op: name.op, checksum: self.checksum(name)? }
            }
            KindName::ReadProbe => {
                Kind::ReadProbe { nonce: self.nonce()?.unwrap_or_default(), relay: false }
            }
            KindName::ReadOk => Kind::ReadOk {
                nonce: self.nonce()?.unwrap_or_default(),
                index: match self.fields.get("index") {
                    Some(_) => Some(OpNumber(self.fields.number("index", None)?)),
                    None => None,
                },
            },
            KindName::Recovery => Kind::Recovery { nonce: self.nonce()?.unwrap_or_default() },
            KindName::RecoveryResponse => Kind::RecoveryResponse {
                nonce: self.nonce()?.unwrap_or_default(),
                commit_max: OpNumber(self.fields.number("commit", Some(0))?),
                suffix: self.list("log")?.iter().map(|name| self.header(*name)).collect::<Result<
                    Vec<Header>,
                    Refused,
                >>(
                )?,
            },
            KindName::Chunk => {
                let text = self.fields.get("bytes").unwrap_or("");
                Kind::Chunk { chunk: text.as_bytes().to_vec().into() }
            }
            KindName::PreStep
            | KindName::GetCheckpoint
            | KindName::Checkpoint
            | KindName::GetChunk
            | KindName::NoChunk
            | KindName::Request
            | KindName::Register
            | KindName::Read
            | KindName::ReadReply
            | KindName::ReadRefused
            | KindName::Reply
            | KindName::Registered
            | KindName::Evicted
            | KindName::Redirect
            | KindName::Refused
            | KindName::Inform
            | KindName::Later(_) => {
                return Err(Refused::NotSupported(format!("a forged {kind}")));
            }
        })
    }

    /// The entry with another value under the same header, where one is named.
    fn with_value(&self, entry: Entry<Bytes>) -> Result<Entry<Bytes>, Refused> {
        let Some(value) = self.fields.get("value") else { return Ok(entry) };
        let value = Some(Bytes::from(value.as_bytes().to_vec()));
        Entry::assemble(*entry.header(), entry.requests().to_vec(), value).ok_or_else(|| {
            Refused::Impossible("the header is that of a value of another length".to_owned())
        })
    }

    fn do_view_change(&self) -> Result<Kind<Bytes>, Refused> {
        let commit = self.fields.get("commit").unwrap_or("0");
        let (min, max) = commit.split_once('/').unwrap_or((commit, commit));
        let parse = |text: &str| {
            text.parse().map(OpNumber).map_err(|_| {
                Refused::Impossible(format!("`commit={text}`: the value is not a number"))
            })
        };
        let mut suffix = Vec::new();
        for name in self.list("log")? {
            suffix.push(SuffixSlot {
                header: if name.gap { None } else { Some(self.header(name)?) },
                present: !name.absent && !name.gap,
                nack: name.nack,
            });
        }
        let last = self.list("log")?.last().map_or(OpNumber::ZERO, |name| name.op);
        if suffix.is_empty() {
            let header = Some(Header::root(CLUSTER));
            suffix.push(SuffixSlot { header, present: true, nack: false });
        }
        Ok(Kind::DoViewChange {
            log_view: ViewNumber(self.fields.number("log-view", Some(0))?),
            op: OpNumber(self.fields.number("op", Some(last.0))?),
            commit_min: parse(min)?,
            commit_max: parse(max)?,
            suffix,
        })
    }

    fn nonce(&self) -> Result<Option<Nonce>, Refused> {
        let Some(text) = self.fields.get("nonce") else { return Ok(None) };
        let parsed = text.split_once('.').and_then(|(incarnation, count)| {
            Some(Nonce {
                incarnation: Incarnation(incarnation.parse().ok()?),
                count: count.parse().ok()?,
            })
        });
        parsed.map(Some).ok_or_else(|| Refused::Impossible(format!("`nonce={text}`: write 1.2")))
    }

    fn committed(&self, op: u64) -> Committed {
        let named = Name { op: OpNumber(op), ..Name::default() };
        let checksum = self.checksum(named).unwrap_or(NOBODYS);
        Committed { op: OpNumber(op), checksum }
    }

    fn named(&self, field: &str) -> Result<Name, Refused> {
        let Some(text) = self.fields.get(field) else {
            return Err(Refused::Impossible(format!("the field `{field}=` is missing")));
        };
        Name::parse(text)
    }

    fn list(&self, field: &str) -> Result<Vec<Name>, Refused> {
        self.fields.get(field).unwrap_or("").split_whitespace().map(Name::parse).collect()
    }

    /// The header that a name means, of all that were ever prepared. Without a view it is that of
    /// the latest view not above the message's.
    fn header(&self, name: Name) -> Result<Header, Refused> {
        if name.op == OpNumber::ZERO {
            return Ok(Header::root(CLUSTER));
        }
        let fits = |header: &&Header| {
            header.op == name.op
                && name.view.map_or(header.view <= self.view, |view| header.view == view)
        };
        let headers = self.world.checker().headers();
        let Some(header) = headers.filter(fits).max_by_key(|header| header.view) else {
            let view = name.view.map_or_else(String::new, |view| format!("@{view}"));
            return Err(Refused::Absent(format!("no entry {}{view} was ever prepared", name.op)));
        };
        if !name.nobodys {
            return Ok(*header);
        }
        let mut forged = Header { body: NOBODYS, ..*header };
        forged.checksum = forged.compute_checksum();
        Ok(forged)
    }

    fn checksum(&self, name: Name) -> Result<Checksum, Refused> {
        self.header(name).map(|header| header.checksum)
    }

    fn entry(&self, name: Name) -> Result<Entry<Bytes>, Refused> {
        let wanted = Name { nobodys: false, ..name };
        let header = self.header(wanted)?;
        let Some(entry) = self.world.checker().entry(header.checksum) else {
            return Err(Refused::Absent(format!("the entry at op {} is unknown", name.op)));
        };
        if !name.nobodys {
            return Ok(entry.clone());
        }
        // Another entry at the same place: the same requests, a nanosecond later.
        let parent = Header {
            checksum: header.parent,
            op: header.op.previous(),
            timestamp: header.timestamp,
            ..Header::root(CLUSTER)
        };
        let requests = entry.requests().to_vec();
        let time = header.timestamp.next();
        let release = header.release;
        Ok(Entry::prepare(&parent, header.epoch, header.view, release, time, requests))
    }
}

/// An entry as stories name it: `3@0`, `3@0!` for one that nobody has, `3@0:absent`, `3@0:nack`,
/// `3:gap`.
#[derive(Clone, Copy, Default)]
struct Name {
    op: OpNumber,
    view: Option<ViewNumber>,
    nobodys: bool,
    absent: bool,
    nack: bool,
    gap: bool,
}

impl Name {
    fn parse(text: &str) -> Result<Self, Refused> {
        let wrong = || Refused::Impossible(format!("`{text}` is not an entry: write 3@0"));
        let mut parts = text.split(':');
        let mut name = Self::default();
        let identity = parts.next().unwrap_or_default();
        for part in parts {
            match part {
                "absent" => name.absent = true,
                "nack" => (name.absent, name.nack) = (true, true),
                "gap" => name.gap = true,
                _ => return Err(wrong()),
            }
        }
        let plain = identity.strip_suffix('!');
        name.nobodys = plain.is_some();
        let (op, view) = match plain.unwrap_or(identity).split_once('@') {
            Some((op, view)) => (op, Some(view)),
            None => (plain.unwrap_or(identity), None),
        };
        let number = |digits: &str| {
            if digits == "max" { Ok(u64::MAX) } else { digits.parse().map_err(|_| wrong()) }
        };
        name.op = OpNumber(number(op)?);
        name.view = view.map(number).transpose()?.map(ViewNumber);
        Ok(name)
    }
}
