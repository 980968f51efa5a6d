//! Frames to messages.

use bincode::Decode;
use bytes::Bytes;
use vsr_core::{
    Checkpoint, Checksum, ClientId, ClientReply, ClientReplyKind, ClientRequest, ClientRequestKind,
    Entry, EntryKind, Epoch, Header, Incarnation, Kind, Message, OpNumber, PREDICTION_BYTES_MAX,
    ReplicaId, RequestNumber, ViewNumber,
};

use crate::error::{Malformed, WireError};
use crate::frame::{Frame, FrameKind, Sender};
use crate::incoming::Incoming;
use crate::{codec, rows, v1};

/// Decodes a frame.
///
/// Checks that the message is well formed: counts, tags, lengths, that the requests are those that
/// an entry's header counts, that nothing follows. What it means is the core's to check, and whether
/// the sender is whom it says, the transport's.
///
/// # Errors
/// [`WireError::Malformed`], and [`WireError::WrongSender`] where a hello names another sender than
/// its frame. The stream itself is still in step, but a sender that does this is not to be trusted.
pub fn decode(frame: &Frame) -> Result<Incoming, WireError> {
    let kind = frame.header.kind;
    let mut fields = Fields { frame, rest: &frame.body };
    match incoming(kind, &mut fields) {
        Ok(incoming) if fields.rest.is_empty() => Ok(incoming),
        Ok(_) => Err(WireError::Malformed { kind, problem: Malformed::Trailing }),
        Err(Problem::WrongSender) => Err(WireError::WrongSender { kind }),
        Err(Problem::Malformed(problem)) => Err(WireError::Malformed { kind, problem }),
    }
}

fn incoming(kind: FrameKind, fields: &mut Fields<'_>) -> Result<Incoming, Problem> {
    match kind {
        FrameKind::Hello => hello(fields),
        FrameKind::Close => fields.close(),
        FrameKind::Ping => fields.peer(Fields::take_into::<v1::Ping, _>),
        FrameKind::Prepare => fields.peer(prepare),
        FrameKind::PrepareOk => fields.peer(Fields::take_into::<v1::PrepareOk, _>),
        FrameKind::Commit => fields.peer(Fields::take_into::<v1::Commit, _>),
        FrameKind::StartViewChange => fields.peer(Fields::take_into::<v1::StartViewChange, _>),
        FrameKind::DoViewChange => fields.peer(Fields::take_into::<v1::DoViewChange, _>),
        FrameKind::StartView => fields.peer(Fields::take_into::<v1::StartView, _>),
        FrameKind::GetView => fields.peer(Fields::take_into::<v1::GetView, _>),
        FrameKind::GetHeaders => fields.peer(Fields::take_into::<v1::GetHeaders, _>),
        FrameKind::Headers => fields.peer(Fields::take_into::<v1::Headers, _>),
        FrameKind::GetEntry => fields.peer(Fields::take_into::<v1::GetEntry, _>),
        FrameKind::Entry => fields.peer(entry),
        FrameKind::Nack => fields.peer(Fields::take_into::<v1::Nack, _>),
        FrameKind::ReadProbe => fields.peer(Fields::take_into::<v1::ReadProbe, _>),
        FrameKind::ReadOk => fields.peer(Fields::take_into::<v1::ReadOk, _>),
        FrameKind::PreStep => fields.peer(pre_step),
        FrameKind::PreStepOk => fields.peer(pre_step_ok),
        FrameKind::GetCheckpoint => fields.peer(Fields::take_into::<v1::GetCheckpoint, _>),
        FrameKind::Checkpoint => fields.peer(checkpoint),
        FrameKind::GetChunk => fields.peer(Fields::take_into::<v1::GetChunk, _>),
        FrameKind::Chunk => fields.peer(|fields| Ok(Kind::Chunk { chunk: fields.tail() })),
        FrameKind::NoChunk => fields.peer(Fields::take_into::<v1::NoChunk, _>),
        FrameKind::Recovery => fields.peer(Fields::take_into::<v1::Recovery, _>),
        FrameKind::RecoveryResponse => fields.peer(Fields::take_into::<v1::RecoveryResponse, _>),
        FrameKind::Register => register(fields),
        FrameKind::Request => request(fields),
        FrameKind::Read => read(fields),
        FrameKind::Registered => fields.reply(Fields::take_into::<v1::Registered, _>),
        FrameKind::Reply => fields.reply(reply),
        FrameKind::Evicted => fields.reply(Fields::take_into::<v1::Evicted, _>),
        FrameKind::Redirect => fields.reply(Fields::take_into::<v1::Redirect, _>),
        FrameKind::Refused => fields.reply(Fields::take_into::<v1::Refused, _>),
        FrameKind::Inform => inform(fields),
        FrameKind::ReadReply => fields.reply(read_reply),
        FrameKind::ReadRefused => fields.reply(Fields::take_into::<v1::ReadRefused, _>),
        FrameKind::StatusRequest => {
            Ok(Incoming::StatusRequest { cluster: fields.frame.header.cluster })
        }
        FrameKind::StatusReply => Ok(Incoming::StatusReply {
            cluster: fields.frame.header.cluster,
            from: fields.replica()?,
            json: fields.tail(),
        }),
    }
}

fn hello(fields: &mut Fields<'_>) -> Result<Incoming, Problem> {
    let header = fields.frame.header;
    fields
        .take::<v1::Hello>()?
        .into_public(header.cluster, header.sender)
        .map(Incoming::Hello)
        .ok_or(Problem::WrongSender)
}

fn prepare(fields: &mut Fields<'_>) -> Result<Kind<Bytes>, Malformed> {
    let v1::Prepare { commit, header } = fields.take()?;
    Ok(Kind::Prepare { entry: fields.entry(header)?, commit: commit.into() })
}

fn entry(fields: &mut Fields<'_>) -> Result<Kind<Bytes>, Malformed> {
    let header = fields.take()?;
    Ok(Kind::Entry { entry: fields.entry(header)? })
}

fn pre_step(fields: &mut Fields<'_>) -> Result<Kind<Bytes>, Malformed> {
    let v1::PreStep { nonce, count } = fields.take()?;
    let (requests, rest) = rows::take(count, &fields.tail())?;
    if !rest.is_empty() {
        return Err(Malformed::Trailing);
    }
    Ok(Kind::PreStep { nonce: nonce.into(), requests: requests.into() })
}

fn pre_step_ok(fields: &mut Fields<'_>) -> Result<Kind<Bytes>, Malformed> {
    let v1::PreStepOk { nonce } = fields.take()?;
    let value = fields.tail();
    if value.len() > PREDICTION_BYTES_MAX {
        return Err(Malformed::Count);
    }
    Ok(Kind::PreStepOk { nonce: nonce.into(), value })
}

fn checkpoint(fields: &mut Fields<'_>) -> Result<Kind<Bytes>, Malformed> {
    let v1::Checkpoint { committed_by, header, id, length, offset } = fields.take()?;
    let checkpoint = Checkpoint { header: header.into(), id: Checksum(id) };
    let committed_by = ViewNumber(committed_by);
    Ok(Kind::Checkpoint { committed_by, checkpoint, length, offset, page: fields.tail() })
}

fn register(fields: &mut Fields<'_>) -> Result<Incoming, Problem> {
    let v1::Register { client, view } = fields.take()?;
    Ok(Incoming::Request(ClientRequest {
        cluster: fields.frame.header.cluster,
        client: ClientId(client),
        view: ViewNumber(view),
        kind: ClientRequestKind::Register,
    }))
}

fn request(fields: &mut Fields<'_>) -> Result<Incoming, Problem> {
    let request: v1::Request = fields.take()?;
    Ok(Incoming::Request(ClientRequest {
        cluster: fields.frame.header.cluster,
        client: ClientId(request.client),
        view: ViewNumber(request.view),
        kind: ClientRequestKind::Operation {
            session: request.session.into(),
            number: RequestNumber(request.number),
            span: request.span,
            digest: Checksum(request.digest),
            body: fields.tail(),
        },
    }))
}

fn read(fields: &mut Fields<'_>) -> Result<Incoming, Problem> {
    let v1::Read { client, view, number, policy } = fields.take()?;
    Ok(Incoming::Request(ClientRequest {
        cluster: fields.frame.header.cluster,
        client: ClientId(client),
        view: ViewNumber(view),
        kind: ClientRequestKind::Read {
            number: RequestNumber(number),
            policy: policy.into(),
            body: fields.tail(),
        },
    }))
}

fn reply(fields: &mut Fields<'_>) -> Result<ClientReplyKind<Bytes>, Malformed> {
    let reply: v1::Reply = fields.take()?;
    Ok(ClientReplyKind::Reply {
        session: reply.session.into(),
        number: RequestNumber(reply.number),
        op: OpNumber(reply.op),
        // Where none was kept, whatever is left is found to be too much.
        body: reply.kept.then(|| fields.tail()),
    })
}

fn read_reply(fields: &mut Fields<'_>) -> Result<ClientReplyKind<Bytes>, Malformed> {
    let v1::ReadReply { number, op } = fields.take()?;
    let (number, op) = (RequestNumber(number), OpNumber(op));
    Ok(ClientReplyKind::ReadReply { number, op, body: fields.tail() })
}

fn inform(fields: &mut Fields<'_>) -> Result<Incoming, Problem> {
    let inform: v1::Inform = fields.take()?;
    Ok(Incoming::Inform {
        cluster: fields.frame.header.cluster,
        from: fields.replica()?,
        epoch: Epoch(inform.epoch),
        view: ViewNumber(inform.view),
        primary: ReplicaId(inform.primary),
    })
}

enum Problem {
    WrongSender,
    Malformed(Malformed),
}

impl From<Malformed> for Problem {
    fn from(problem: Malformed) -> Self {
        Self::Malformed(problem)
    }
}

/// A frame, and what of its body has not been taken yet.
struct Fields<'a> {
    frame: &'a Frame,
    rest: &'a [u8],
}

impl Fields<'_> {
    fn take<T: Decode<()>>(&mut self) -> Result<T, Malformed> {
        codec::take(&mut self.rest)
    }

    fn take_into<T: Decode<()> + Into<K>, K>(&mut self) -> Result<K, Malformed> {
        self.take::<T>().map(Into::into)
    }

    /// All that is left, without a copy.
    fn tail(&mut self) -> Bytes {
        let body = &self.frame.body;
        let tail = body.slice(body.len() - self.rest.len()..);
        self.rest = &[];
        tail
    }

    /// An entry with this header, whose requests and predicted value are all that is left.
    fn entry(&mut self, header: v1::EntryHeader) -> Result<Entry<Bytes>, Malformed> {
        let header = Header::from(header);
        let (requests, rest) = rows::take(header.count, &self.tail())?;
        let prediction = match header.kind {
            EntryKind::Predicted if rest.len() > PREDICTION_BYTES_MAX => {
                return Err(Malformed::Count);
            }
            EntryKind::Predicted => Some(rest),
            EntryKind::Root | EntryKind::Requests if rest.is_empty() => None,
            EntryKind::Root | EntryKind::Requests => return Err(Malformed::Trailing),
        };
        Entry::assemble(header, requests, prediction).ok_or(Malformed::Requests)
    }

    fn replica(&self) -> Result<ReplicaId, Problem> {
        match self.frame.header.sender {
            Sender::Replica(replica) => Ok(replica),
            Sender::Client => Err(Problem::WrongSender),
        }
    }

    fn close(&mut self) -> Result<Incoming, Problem> {
        let v1::Close { code } = self.take()?;
        Ok(Incoming::Close { code })
    }

    /// A message of the protocol: the envelope, then what `kind` takes.
    fn peer(
        &mut self,
        kind: impl FnOnce(&mut Self) -> Result<Kind<Bytes>, Malformed>,
    ) -> Result<Incoming, Problem> {
        let envelope: v1::Envelope = self.take()?;
        let message = Message {
            cluster: self.frame.header.cluster,
            epoch: Epoch(envelope.epoch),
            view: ViewNumber(envelope.view),
            incarnation: Incarnation(envelope.incarnation),
            kind: kind(self)?,
        };
        let from = self.replica()?;
        Ok(Incoming::Peer { from, message })
    }

    /// An answer to a client: the envelope, then what `kind` takes.
    fn reply(
        &mut self,
        kind: impl FnOnce(&mut Self) -> Result<ClientReplyKind<Bytes>, Malformed>,
    ) -> Result<Incoming, Problem> {
        let envelope: v1::ReplyEnvelope = self.take()?;
        let reply = ClientReply {
            cluster: self.frame.header.cluster,
            epoch: Epoch(envelope.epoch),
            view: ViewNumber(envelope.view),
            client: ClientId(envelope.client),
            kind: kind(self)?,
        };
        let from = self.replica()?;
        Ok(Incoming::Reply { from, reply })
    }
}
