//! Messages to frames. Each function appends one whole frame; where it returns an error, `out` is
//! as it was before.

use bytes::BytesMut;
use vsr_core::{
    Body, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind, ClusterId, Entry, Epoch,
    Kind, Message, ReplicaId, Request, ViewNumber,
};

use crate::bounded::Bounded;
use crate::codec::put;
use crate::error::{Malformed, WireError};
use crate::frame::{FrameHeader, FrameKind, HEADER_LENGTH, Sender};
use crate::hello::{CloseReason, Hello, Speaker};
use crate::limits::{FRAME_LIMIT_MAX, REQUESTS_MAX};
use crate::{rows, v1};

/// Appends a message of the protocol, sent by `from`.
///
/// # Errors
/// [`WireError::TooLarge`] or [`WireError::Malformed`] where a list or an operation is longer than
/// any cluster's limits allow. The core never makes such a message.
pub fn encode_message<B: Body>(
    message: &Message<B>,
    from: ReplicaId,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let kind = kind_of(&message.kind);
    frame(kind, Sender::Replica(from), message.cluster, out, |out| {
        put(
            &v1::Envelope {
                epoch: message.epoch.0,
                view: message.view.0,
                incarnation: message.incarnation.0,
            },
            out,
        );
        put_kind(&message.kind, out)
    })
}

/// Appends a client's request.
///
/// # Errors
/// [`WireError::TooLarge`] for an operation longer than any cluster's limit.
pub fn encode_request<B: Body>(
    request: &ClientRequest<B>,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let (client, view) = (request.client.0, request.view.0);
    let kind = match &request.kind {
        ClientRequestKind::Register => FrameKind::Register,
        ClientRequestKind::Operation { .. } => FrameKind::Request,
        ClientRequestKind::Read { .. } => FrameKind::Read,
    };
    frame(kind, Sender::Client, request.cluster, out, |out| {
        match &request.kind {
            ClientRequestKind::Register => put(&v1::Register { client, view }, out),
            ClientRequestKind::Operation { session, number, span, digest, body } => {
                let fields = v1::Request {
                    client,
                    view,
                    session: (*session).into(),
                    number: number.0,
                    span: *span,
                    digest: digest.0,
                };
                put(&fields, out);
                put_tail(body.as_ref(), out)?;
            }
            ClientRequestKind::Read { number, policy, body } => {
                let (number, policy) = (number.0, (*policy).into());
                put(&v1::Read { client, view, number, policy }, out);
                put_tail(body.as_ref(), out)?;
            }
        }
        Ok(())
    })
}

/// Appends an answer to a client, sent by `from`.
///
/// # Errors
/// [`WireError::TooLarge`] for a reply longer than any cluster's limit.
pub fn encode_reply<B: Body>(
    reply: &ClientReply<B>,
    from: ReplicaId,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let kind = match &reply.kind {
        ClientReplyKind::Registered { .. } => FrameKind::Registered,
        ClientReplyKind::Reply { .. } => FrameKind::Reply,
        ClientReplyKind::Evicted { .. } => FrameKind::Evicted,
        ClientReplyKind::Redirect { .. } => FrameKind::Redirect,
        ClientReplyKind::Refused { .. } => FrameKind::Refused,
        ClientReplyKind::ReadReply { .. } => FrameKind::ReadReply,
        ClientReplyKind::ReadRefused { .. } => FrameKind::ReadRefused,
    };
    frame(kind, Sender::Replica(from), reply.cluster, out, |out| {
        let envelope =
            v1::ReplyEnvelope { epoch: reply.epoch.0, view: reply.view.0, client: reply.client.0 };
        put(&envelope, out);
        put_reply_kind(&reply.kind, out)
    })
}

/// Appends a hello.
pub fn encode_hello(hello: &Hello, out: &mut BytesMut) {
    let sender = match hello.speaker {
        Speaker::Replica { id, .. } => Sender::Replica(id),
        Speaker::Client { .. } => Sender::Client,
    };
    small_frame(FrameKind::Hello, sender, hello.cluster, out, |out| {
        put(&v1::Hello::from(hello), out);
    });
}

/// Appends a close: the last frame of a connection.
pub fn encode_close(cluster: ClusterId, sender: Sender, reason: CloseReason, out: &mut BytesMut) {
    small_frame(FrameKind::Close, sender, cluster, out, |out| {
        let code = reason.code();
        put(&v1::Close { code }, out);
    });
}

/// Appends word of a new view, for clients.
pub fn encode_inform(
    cluster: ClusterId,
    from: ReplicaId,
    epoch: Epoch,
    view: ViewNumber,
    primary: ReplicaId,
    out: &mut BytesMut,
) {
    let fields = v1::Inform { epoch: epoch.0, view: view.0, primary: primary.0 };
    let sender = Sender::Replica(from);
    small_frame(FrameKind::Inform, sender, cluster, out, |out| {
        put(&fields, out);
    });
}

/// Appends a client's question how a replica is.
pub fn encode_status_request(cluster: ClusterId, out: &mut BytesMut) {
    small_frame(FrameKind::StatusRequest, Sender::Client, cluster, out, |_| ());
}

/// Appends the answer to [`encode_status_request`], a JSON document.
///
/// # Errors
/// [`WireError::TooLarge`] for a document longer than any cluster's frame limit.
pub fn encode_status_reply(
    cluster: ClusterId,
    from: ReplicaId,
    json: &[u8],
    out: &mut BytesMut,
) -> Result<(), WireError> {
    let sender = Sender::Replica(from);
    frame(FrameKind::StatusReply, sender, cluster, out, |out| put_tail(json, out))
}

const fn kind_of<B>(kind: &Kind<B>) -> FrameKind {
    match kind {
        Kind::Ping { .. } => FrameKind::Ping,
        Kind::Prepare { .. } => FrameKind::Prepare,
        Kind::PrepareOk { .. } => FrameKind::PrepareOk,
        Kind::Commit { .. } => FrameKind::Commit,
        Kind::StartViewChange { .. } => FrameKind::StartViewChange,
        Kind::DoViewChange { .. } => FrameKind::DoViewChange,
        Kind::StartView { .. } => FrameKind::StartView,
        Kind::GetView { .. } => FrameKind::GetView,
        Kind::GetHeaders { .. } => FrameKind::GetHeaders,
        Kind::Headers { .. } => FrameKind::Headers,
        Kind::GetEntry { .. } => FrameKind::GetEntry,
        Kind::Entry { .. } => FrameKind::Entry,
        Kind::Nack { .. } => FrameKind::Nack,
        Kind::ReadProbe { .. } => FrameKind::ReadProbe,
        Kind::ReadOk { .. } => FrameKind::ReadOk,
        Kind::PreStep { .. } => FrameKind::PreStep,
        Kind::PreStepOk { .. } => FrameKind::PreStepOk,
        Kind::GetCheckpoint { .. } => FrameKind::GetCheckpoint,
        Kind::Checkpoint { .. } => FrameKind::Checkpoint,
        Kind::GetChunk { .. } => FrameKind::GetChunk,
        Kind::Chunk { .. } => FrameKind::Chunk,
        Kind::NoChunk { .. } => FrameKind::NoChunk,
        Kind::Recovery { .. } => FrameKind::Recovery,
        Kind::RecoveryResponse { .. } => FrameKind::RecoveryResponse,
    }
}

fn put_kind<B: Body>(kind: &Kind<B>, out: &mut BytesMut) -> Result<(), Problem> {
    match kind {
        Kind::Ping { log_view, op, commit, heard, kept } => {
            let fields = v1::Ping {
                log_view: log_view.0,
                op: op.0,
                commit: (*commit).into(),
                heard: heard.0,
                kept: (*kept).into(),
            };
            put(&fields, out);
        }
        Kind::Prepare { entry, commit } => {
            let commit = (*commit).into();
            let header = entry.header().into();
            put(&v1::Prepare { commit, header }, out);
            put_content(entry, out)?;
        }
        Kind::PrepareOk { op, checksum, commit_min } => {
            let fields = v1::PrepareOk { op: op.0, checksum: checksum.0, commit_min: commit_min.0 };
            put(&fields, out);
        }
        Kind::Commit { commit } => {
            let commit = (*commit).into();
            put(&v1::Commit { commit }, out);
        }
        Kind::StartViewChange { log_view } => {
            let log_view = log_view.0;
            put(&v1::StartViewChange { log_view }, out);
        }
        Kind::DoViewChange { log_view, op, commit_min, commit_max, suffix } => {
            let fields = v1::DoViewChange {
                log_view: log_view.0,
                op: op.0,
                commit_min: commit_min.0,
                commit_max: commit_max.0,
                suffix: list(suffix)?,
            };
            put(&fields, out);
        }
        Kind::StartView { commit_max, suffix, nonce } => {
            let fields = v1::StartView {
                commit_max: commit_max.0,
                nonce: nonce.map(Into::into),
                suffix: list(suffix)?,
            };
            put(&fields, out);
        }
        Kind::GetView { nonce, uncertain } => {
            let (nonce, uncertain) = ((*nonce).into(), uncertain.map(Into::into));
            put(&v1::GetView { nonce, uncertain }, out);
        }
        Kind::GetHeaders { first, last } => {
            let (first, last) = (first.0, last.0);
            put(&v1::GetHeaders { first, last }, out);
        }
        Kind::Headers { headers } => {
            let headers = list(headers)?;
            put(&v1::Headers { headers }, out);
        }
        Kind::GetEntry { wanted } => {
            let wanted = list(wanted)?;
            put(&v1::GetEntry { wanted }, out);
        }
        Kind::Entry { entry } => {
            put(&v1::EntryHeader::from(entry.header()), out);
            put_content(entry, out)?;
        }
        Kind::Nack { op, checksum } => {
            let (op, checksum) = (op.0, checksum.0);
            put(&v1::Nack { op, checksum }, out);
        }
        Kind::ReadProbe { nonce, relay } => {
            let nonce = (*nonce).into();
            put(&v1::ReadProbe { nonce, relay: *relay }, out);
        }
        Kind::ReadOk { nonce, index } => {
            let (nonce, index) = ((*nonce).into(), index.map(|index| index.0));
            put(&v1::ReadOk { nonce, index }, out);
        }
        Kind::PreStep { nonce, requests } => {
            let (nonce, count) = ((*nonce).into(), requests.len() as u32);
            put(&v1::PreStep { nonce, count }, out);
            put_requests(requests, out)?;
        }
        Kind::PreStepOk { nonce, value } => {
            let nonce = (*nonce).into();
            put(&v1::PreStepOk { nonce }, out);
            put_tail(value.as_ref(), out)?;
        }
        Kind::GetCheckpoint { id, offset } => {
            let (id, offset) = (id.0, *offset);
            put(&v1::GetCheckpoint { id, offset }, out);
        }
        Kind::Checkpoint { committed_by, checkpoint, length, offset, page } => {
            let fields = v1::Checkpoint {
                committed_by: committed_by.0,
                header: (&checkpoint.header).into(),
                id: checkpoint.id.0,
                length: *length,
                offset: *offset,
            };
            put(&fields, out);
            put_tail(page.as_ref(), out)?;
        }
        Kind::GetChunk { wanted } => {
            let wanted = list(wanted)?;
            put(&v1::GetChunk { wanted }, out);
        }
        Kind::Chunk { chunk } => put_tail(chunk.as_ref(), out)?,
        Kind::NoChunk { name } => {
            let name = name.0;
            put(&v1::NoChunk { name }, out);
        }
        Kind::Recovery { nonce } => {
            let nonce = (*nonce).into();
            put(&v1::Recovery { nonce }, out);
        }
        Kind::RecoveryResponse { nonce, commit_max, suffix } => {
            let fields = v1::RecoveryResponse {
                nonce: (*nonce).into(),
                commit_max: commit_max.0,
                suffix: list(suffix)?,
            };
            put(&fields, out);
        }
    }
    Ok(())
}

fn put_reply_kind<B: Body>(kind: &ClientReplyKind<B>, out: &mut BytesMut) -> Result<(), Problem> {
    match kind {
        ClientReplyKind::Registered { session, window } => {
            let (session, window) = ((*session).into(), *window);
            put(&v1::Registered { session, window }, out);
        }
        ClientReplyKind::Reply { session, number, op, body } => {
            let fields = v1::Reply {
                session: (*session).into(),
                number: number.0,
                op: op.0,
                kept: body.is_some(),
            };
            put(&fields, out);
            if let Some(body) = body {
                put_tail(body.as_ref(), out)?;
            }
        }
        ClientReplyKind::Evicted { session, number } => {
            let (session, number) = ((*session).into(), number.0);
            put(&v1::Evicted { session, number }, out);
        }
        ClientReplyKind::Redirect { primary } => {
            let primary = primary.0;
            put(&v1::Redirect { primary }, out);
        }
        ClientReplyKind::Refused { session, number, reason } => {
            let session = session.map(Into::into);
            let fields = v1::Refused { session, number: number.0, reason: (*reason).into() };
            put(&fields, out);
        }
        ClientReplyKind::ReadReply { number, op, body } => {
            let (number, op) = (number.0, op.0);
            put(&v1::ReadReply { number, op }, out);
            put_tail(body.as_ref(), out)?;
        }
        ClientReplyKind::ReadRefused { number, reason } => {
            let fields = v1::ReadRefused { number: number.0, reason: (*reason).into() };
            put(&fields, out);
        }
    }
    Ok(())
}

/// Why a body cannot be written.
enum Problem {
    TooLarge(usize),
    TooMany,
}

fn put_content<B: Body>(entry: &Entry<B>, out: &mut BytesMut) -> Result<(), Problem> {
    put_requests(entry.requests(), out)?;
    match entry.prediction() {
        Some(prediction) => put_tail(prediction.as_ref(), out),
        None => Ok(()),
    }
}

fn put_requests<B: Body>(requests: &[Request<B>], out: &mut BytesMut) -> Result<(), Problem> {
    if requests.len() > REQUESTS_MAX {
        return Err(Problem::TooMany);
    }
    let operations: usize = requests.iter().map(|request| request.length()).sum();
    let length = operations + requests.len() * rows::ROW_LENGTH;
    if length > FRAME_LIMIT_MAX as usize {
        return Err(Problem::TooLarge(length));
    }
    out.reserve(length);
    rows::put(requests, out);
    Ok(())
}

fn put_tail(bytes: &[u8], out: &mut BytesMut) -> Result<(), Problem> {
    if bytes.len() > FRAME_LIMIT_MAX as usize {
        return Err(Problem::TooLarge(bytes.len()));
    }
    out.extend_from_slice(bytes);
    Ok(())
}

fn list<'a, T, M: From<&'a T>, const MAX: usize>(
    items: &'a [T],
) -> Result<Bounded<M, MAX>, Problem> {
    if items.len() > MAX {
        return Err(Problem::TooMany);
    }
    Ok(Bounded(items.iter().map(M::from).collect()))
}

/// Appends a header and what `body` appends, or nothing.
fn frame(
    kind: FrameKind,
    sender: Sender,
    cluster: ClusterId,
    out: &mut BytesMut,
    body: impl FnOnce(&mut BytesMut) -> Result<(), Problem>,
) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LENGTH]);
    let result = body(out).and_then(|()| match out.len() - start {
        length if length > FRAME_LIMIT_MAX as usize => Err(Problem::TooLarge(length)),
        _ => Ok(()),
    });
    if let Err(problem) = result {
        out.truncate(start);
        return Err(match problem {
            Problem::TooLarge(length) => {
                WireError::TooLarge { length: length as u64, limit: FRAME_LIMIT_MAX }
            }
            Problem::TooMany => WireError::Malformed { kind, problem: Malformed::Count },
        });
    }
    let (header, body) = out[start..].split_at_mut(HEADER_LENGTH);
    header.copy_from_slice(&FrameHeader::new(kind, sender, cluster, body).to_bytes());
    Ok(())
}

/// As [`frame`], for bodies of a fixed, small size.
fn small_frame(
    kind: FrameKind,
    sender: Sender,
    cluster: ClusterId,
    out: &mut BytesMut,
    body: impl FnOnce(&mut BytesMut),
) {
    frame(kind, sender, cluster, out, |out| {
        body(out);
        Ok(())
    })
    .expect("a body of fixed size is far below FRAME_LIMIT_MAX");
}
