//! How what happens in a world reads in a transcript.

use std::fmt::Write as _;

use bytes::Bytes;
use vsr_core::{
    Checksum, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, Entry, Header, Kind,
    Message, OpNumber, ReadPolicy, ReadRefusal, Refusal, Request, SuffixSlot, Summary, WriteKind,
};

use crate::invariants::Checker;
use crate::service;
use crate::world::World;
use crate::world::choice::Policy;
use crate::world::names::{Endpoint, KindName, Link};
use crate::world::network::Flight;
use crate::world::packet::Payload;
use crate::world::store::Store;

/// Knows the names of what is told about: which entry a checksum is, whose a session is.
pub(crate) struct Names<'a> {
    checker: &'a Checker,
}

impl<S: Store> World<S> {
    /// Writes a line down, if anybody listens.
    pub(super) fn narrate(&mut self, line: impl FnOnce(&Names<'_>) -> String) {
        if self.narrator.is_on() {
            let line = line(&Names { checker: &self.checker });
            self.narrator.say(line);
        }
    }

    /// The requests of an entry, as a transcript prints them.
    pub(super) fn requests_of(&self, header: &Header) -> String {
        let names = Names { checker: &self.checker };
        self.checker
            .entry(header.checksum)
            .map_or_else(|| "?".to_owned(), |entry| names.requests(entry))
    }

    /// A line about a replica: what it is and where.
    #[must_use]
    pub fn state_line(&self, index: usize) -> String {
        let node = &self.nodes[index];
        let id = node.id();
        match (&node.replica, &node.halted) {
            (_, Some(_)) => format!("  {id} halted"),
            (None, None) => format!("  {id} dead"),
            (Some(replica), None) => format!("  {id} {}", state(&replica.summary())),
        }
    }

    pub(super) fn close_block(&mut self, index: usize, happened: bool) {
        if self.narrator.is_block_open() {
            let state = self.state_line(index);
            self.narrator.close_block(state, happened);
        }
    }

    pub(super) fn tell_loss(&mut self, link: Link, flight: &Flight) {
        if !self.narrator.is_on() {
            return;
        }
        if self.narrator.is_block_open() {
            self.narrate(|_| format!("    -x {}  {}", link.to, paper_name(flight)));
        } else {
            let payload = flight.packet.open();
            self.narrate(|names| {
                format!("  {} -x {}  {}", link.from, link.to, names.payload(&payload))
            });
        }
    }

    pub(super) fn tell_arrival(&mut self, link: Link, flight: &Flight) {
        if !self.narrator.is_on() || (link.has_client() && !self.cluster.client_links) {
            return;
        }
        let alive = match link.to {
            Endpoint::Replica(replica) => self.nodes[replica.0 as usize].is_live(),
            Endpoint::Client(_) => true,
        };
        let payload = flight.packet.open();
        let names = Names { checker: &self.checker };
        let arrow = if alive { "->" } else { "-x" };
        let line = format!("  {} {arrow} {}  {}", link.from, link.to, names.payload(&payload));
        let idle = matches!(flight.kind, KindName::Ping | KindName::Commit);
        if alive || !idle {
            self.narrator.arrival(line, idle);
        }
    }
}

fn paper_name(flight: &Flight) -> String {
    flight.kind.name().to_uppercase()
}

fn state(summary: &Summary) -> String {
    let mut line = format!("{} v{}", summary.status, summary.view);
    if summary.log_view != summary.view {
        let _ = write!(line, " log-view{}", summary.log_view);
    }
    let _ = write!(line, " op{} commit{}", summary.op, summary.commit_min);
    if summary.commit_max > summary.commit_min {
        let _ = write!(line, "/{}", summary.commit_max);
    }
    if summary.repairs_pending > 0 {
        let _ = write!(line, " missing{}", summary.repairs_pending);
    }
    line
}

impl Names<'_> {
    /// A message of any sort.
    pub(crate) fn payload(&self, payload: &Payload) -> String {
        match payload {
            Payload::Message(message) => self.message(message),
            Payload::Request(request) => self.request(request),
            Payload::Reply(reply) => Self::reply(reply),
            Payload::Inform { view, primary } => format!("INFORM view={view} primary={primary}"),
        }
    }

    fn message(&self, message: &Message<Bytes>) -> String {
        let head = format!("{} view={}", message.kind.name(), message.view);
        let rest = match &message.kind {
            Kind::Ping { log_view, op, commit, heard, kept } => {
                let heard: Vec<String> = heard.iter().map(|index| index.to_string()).collect();
                let heard = heard.join(",");
                let begins = match kept.begins {
                    OpNumber::ZERO => String::new(),
                    begins => format!(" begins={begins}"),
                };
                let kept = match (kept.checkpoint, kept.trimmed) {
                    (OpNumber::ZERO, _) => begins,
                    (checkpoint, trimmed) => {
                        let lost = if kept.lost { " lost" } else { "" };
                        format!(" checkpoint={checkpoint} trimmed={trimmed}{begins}{lost}")
                    }
                };
                let commit = commit.op;
                format!("log-view={log_view} op={op} commit={commit} heard={heard}{kept}")
            }
            Kind::Prepare { entry, commit } => {
                let op = self.op_in_view(entry.header(), message.view);
                format!("op={op} commit={} {}", commit.op, self.requests(entry))
            }
            Kind::PrepareOk { op, .. } => format!("op={op}"),
            Kind::Commit { commit } => format!("commit={}", commit.op),
            Kind::StartViewChange { log_view } => format!("log-view={log_view}"),
            Kind::DoViewChange { log_view, op, commit_min, commit_max, suffix } => {
                let first = op.0 + 1 - (suffix.len() as u64).min(op.0 + 1);
                let slots: Vec<String> =
                    (first..).zip(suffix).map(|(op, slot)| Self::slot(op, slot)).collect();
                format!(
                    "log-view={log_view} op={op} commit={commit_min}/{commit_max} log=[{}]",
                    slots.join(" ")
                )
            }
            Kind::StartView { commit_max, suffix, nonce } => {
                let nonce = nonce.map_or_else(String::new, |nonce| {
                    format!(" nonce={}.{}", nonce.incarnation, nonce.count)
                });
                format!("commit={commit_max} log=[{}]{nonce}", Self::headers(suffix))
            }
            Kind::GetView { nonce, uncertain } => {
                let uncertain = if uncertain.is_some() { " uncertain" } else { "" };
                format!("nonce={}.{}{uncertain}", nonce.incarnation, nonce.count)
            }
            Kind::GetHeaders { first, last } => format!("first={first} last={last}"),
            Kind::Headers { headers } => format!("log=[{}]", Self::headers(headers)),
            Kind::GetEntry { wanted } => {
                let wanted: Vec<String> =
                    wanted.iter().map(|(op, checksum)| self.entry_name(op.0, *checksum)).collect();
                format!("wanted=[{}]", wanted.join(" "))
            }
            Kind::Entry { entry } => {
                let header = entry.header();
                format!("op={}@{} {}", header.op, header.view, self.requests(entry))
            }
            Kind::Nack { op, checksum } => format!("op={}", self.entry_name(op.0, *checksum)),
            Kind::ReadProbe { nonce, relay } => {
                let relay = if *relay { " relay" } else { "" };
                format!("nonce={}.{}{relay}", nonce.incarnation, nonce.count)
            }
            Kind::ReadOk { nonce, index } => {
                let index = index.map_or_else(String::new, |index| format!(" index={index}"));
                format!("nonce={}.{}{index}", nonce.incarnation, nonce.count)
            }
            Kind::PreStep { nonce, requests } => {
                let (incarnation, count) = (nonce.incarnation, nonce.count);
                format!("nonce={incarnation}.{count} {}", self.listed(requests))
            }
            Kind::PreStepOk { nonce, value } => {
                let (incarnation, count) = (nonce.incarnation, nonce.count);
                format!("nonce={incarnation}.{count} value={}", String::from_utf8_lossy(value))
            }
            Kind::GetCheckpoint { offset, .. } => format!("offset={offset}"),
            Kind::Checkpoint { committed_by, checkpoint, length, offset, page } => {
                let end = u64::from(*offset) + page.len() as u64;
                format!(
                    "op={} committed-by={committed_by} bytes={offset}..{end} of {length}",
                    checkpoint.op()
                )
            }
            Kind::GetChunk { wanted } => format!("wanted={}", wanted.len()),
            Kind::Chunk { chunk } => format!("bytes={}", chunk.len()),
            Kind::NoChunk { .. } => String::new(),
            Kind::Recovery { nonce } => format!("nonce={}.{}", nonce.incarnation, nonce.count),
            Kind::RecoveryResponse { nonce, commit_max, suffix } => {
                let log = if suffix.is_empty() {
                    String::new()
                } else {
                    format!(" commit={commit_max} log=[{}]", Self::headers(suffix))
                };
                format!("nonce={}.{}{log}", nonce.incarnation, nonce.count)
            }
        };
        format!("{head} {rest}")
    }

    /// An op; with the view it was prepared in, where that is not the one spoken of.
    fn op_in_view(&self, header: &Header, view: vsr_core::ViewNumber) -> String {
        if header.view == view {
            header.op.to_string()
        } else {
            format!("{}@{}", header.op, header.view)
        }
    }

    /// An entry by its checksum: `3@0` is op 3 of view 0.
    pub(crate) fn entry_name(&self, op: u64, checksum: Checksum) -> String {
        self.checker
            .header(checksum)
            .map_or_else(|| format!("{op}@?"), |header| format!("{}@{}", header.op, header.view))
    }

    fn slot(op: u64, slot: &SuffixSlot) -> String {
        let name = slot
            .header
            .map_or_else(|| format!("{op}:gap"), |header| format!("{}@{}", header.op, header.view));
        let absent = if slot.present || slot.header.is_none() { "" } else { ":absent" };
        let nack = if slot.nack { ":nack" } else { "" };
        format!("{name}{absent}{nack}")
    }

    fn headers(headers: &[Header]) -> String {
        let names: Vec<String> =
            headers.iter().map(|header| format!("{}@{}", header.op, header.view)).collect();
        names.join(" ")
    }

    /// An entry's requests, and its predicted value: `[c1#1 put x 1] value=r0.3@120ms`.
    pub(crate) fn requests(&self, entry: &Entry<Bytes>) -> String {
        let requests = self.listed(entry.requests());
        match entry.prediction() {
            None => requests,
            Some(value) => format!("{requests} value={}", String::from_utf8_lossy(value)),
        }
    }

    /// Requests: `[c1#1 put x 1]`.
    fn listed(&self, requests: &[Request<Bytes>]) -> String {
        let requests: Vec<String> = requests
            .iter()
            .map(|request| match request {
                Request::Register { client, .. } => format!("register c{}", client.0 as u32),
                Request::Operation { session, number, body, .. } => {
                    let name = self.checker.session_name(*session);
                    format!("{name}#{number} {}", service::show_operation(body))
                }
            })
            .collect();
        format!("[{}]", requests.join(", "))
    }

    fn request(&self, request: &ClientRequest<Bytes>) -> String {
        match &request.kind {
            ClientRequestKind::Register => format!("REGISTER view={}", request.view),
            ClientRequestKind::Operation { number, body, .. } => {
                format!("REQUEST view={} #{number} {}", request.view, service::show_operation(body))
            }
            ClientRequestKind::Read { number, policy, body } => {
                let operation = service::show_operation(body);
                let policy = match policy {
                    ReadPolicy::Linearizable => Policy::Linearizable,
                    ReadPolicy::Causal { after } => Policy::CausalAfter(after.0),
                    ReadPolicy::Bounded { age } => Policy::Bounded(*age),
                };
                format!("READ #{number} {policy} {operation}")
            }
        }
    }

    fn reply(reply: &ClientReply<Bytes>) -> String {
        let view = reply.view;
        match &reply.kind {
            ClientReplyKind::Registered { session, .. } => {
                format!("REGISTERED view={view} session={}@{}", session.slot, session.number)
            }
            ClientReplyKind::Reply { number, body, .. } => {
                let body = body.as_ref().map_or_else(
                    || "done".to_owned(),
                    |body| format!("{:?}", service::show_reply(body)),
                );
                format!("REPLY view={view} #{number} {body}")
            }
            ClientReplyKind::Evicted { session, number } => {
                let (slot, of) = (session.slot, session.number);
                format!("EVICTED view={view} #{number} session={slot}@{of}")
            }
            ClientReplyKind::Redirect { primary } => {
                format!("REDIRECT view={view} primary={primary}")
            }
            ClientReplyKind::Refused { number, reason, .. } => {
                format!("REFUSED view={view} #{number} {}", refusal(*reason))
            }
            ClientReplyKind::ReadReply { number, op, body } => {
                format!("READ-REPLY #{number} op={op} {:?}", service::show_reply(body))
            }
            ClientReplyKind::ReadRefused { number, reason } => {
                format!("READ-REFUSED #{number} {}", read_refusal(*reason))
            }
        }
    }

    /// A write to the disk.
    pub(crate) fn write(&self, write: &WriteKind<Bytes>) -> String {
        match write {
            WriteKind::Append(entries) => {
                let names: Vec<String> =
                    entries.iter().map(|entry| entry.header().op.to_string()).collect();
                format!("op={}", names.join(","))
            }
            WriteKind::Superblock(state) => {
                let kept = match (state.checkpoint.op(), state.trimmed.op) {
                    (OpNumber::ZERO, _) => String::new(),
                    (checkpoint, trimmed) => format!(" checkpoint={checkpoint} trimmed={trimmed}"),
                };
                format!(
                    "superblock incarnation={} view={} log-view={}{kept}",
                    state.incarnation, state.view, state.log_view
                )
            }
            WriteKind::MarkFaulty(op) => format!("faulty op={op}"),
        }
    }
}

/// A refusal's reason, in lower case.
pub(crate) const fn refusal(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Busy => "busy",
        Refusal::LogFull => "log-full",
        Refusal::DiskFull => "disk-full",
        Refusal::NotYours => "not-yours",
        Refusal::Malformed => "malformed",
        Refusal::Forbidden => "forbidden",
    }
}

/// A read's refusal, in lower case.
pub(crate) const fn read_refusal(reason: ReadRefusal) -> &'static str {
    match reason {
        ReadRefusal::Busy => "busy",
        ReadRefusal::NotConfirmed => "not-confirmed",
        ReadRefusal::Behind => "behind",
        ReadRefusal::NotARead => "not-a-read",
        ReadRefusal::Forbidden => "forbidden",
    }
}
