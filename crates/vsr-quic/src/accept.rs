//! Taking in whoever dials a replica: counted, greeted, checked, and then served.

use std::sync::Arc;
use std::time::Duration;

use quinn::Incoming as Attempt;
use tokio::time::timeout;
use vsr_tokio::Inbox;
use vsr_wire::CloseReason;

use crate::admission::Ticket;
use crate::greeting::{self, Ended, Greeted, Protocol};
use crate::limits::{HANDSHAKE_TIMEOUT, HELLO_TIMEOUT};
use crate::name::Name;
use crate::transport::Shared;

/// Takes in whoever dials, until the endpoint ends.
pub(crate) async fn accept(shared: Arc<Shared>, inbox: Inbox) {
    while let Some(attempt) = shared.endpoint.accept().await {
        let from = attempt.remote_address();
        if shared.admission.is_busy() && !attempt.remote_address_validated() {
            // It fails only for an address that is validated.
            let _ = attempt.retry();
            continue;
        }
        match shared.admission.admit(from.ip()) {
            Some(ticket) => {
                let (shared, inbox) = (Arc::clone(&shared), inbox.clone());
                tokio::spawn(async move {
                    shared.until_stopped(receive(&shared, attempt, ticket, &inbox)).await;
                });
            }
            None => {
                attempt.refuse();
                let detail = "too many connections that have not said hello";
                shared.warn_refused(from, &Ended::refused(CloseReason::Busy, detail));
            }
        }
    }
    shared.stop();
}

/// Greets whoever dialled, and then serves it until its connection ends.
async fn receive(shared: &Shared, attempt: Attempt, ticket: Ticket, inbox: &Inbox) {
    let from = attempt.remote_address();
    match greet(shared, attempt).await {
        Ok((greeted, name)) => {
            drop(ticket);
            shared.serve(greeted, name, inbox).await;
        }
        Err(ended @ Ended::Refused { .. }) => shared.warn_refused(from, &ended),
        // As where a replica that dialled found itself dialled, and gave up its own connection.
        Err(ended @ (Ended::Lost { .. } | Ended::NodeGone)) => {
            tracing::debug!(%from, "it left before it was greeted: {ended}");
        }
    }
}

async fn greet(shared: &Shared, attempt: Attempt) -> Result<(Greeted, Name), Ended> {
    let late = |what: &str, limit: Duration| {
        let detail = format!("no {what} within {limit:?}");
        Ended::refused(CloseReason::TimedOut, detail)
    };
    let connection = timeout(HANDSHAKE_TIMEOUT, attempt.accept()?)
        .await
        .map_err(|_| late("TLS handshake", HANDSHAKE_TIMEOUT))??;
    let admitted = async {
        let (protocol, name) = identify(&connection)?;
        if protocol == Protocol::Peer {
            shared.check_peer(&name)?;
        }
        let greeting = greeting::answer(connection.clone(), protocol, &shared.hello, &name);
        let greeted =
            timeout(HELLO_TIMEOUT, greeting).await.map_err(|_| late("hello", HELLO_TIMEOUT))??;
        shared.recognise(&greeted.theirs).await?;
        Ok((greeted, name))
    };
    admitted.await.inspect_err(|ended: &Ended| ended.close(&connection))
}

/// What is spoken and by whom; replicas speak one protocol and clients the other.
fn identify(connection: &quinn::Connection) -> Result<(Protocol, Name), Ended> {
    let (Some(protocol), Some(name)) =
        (greeting::protocol(connection), greeting::proven_name(connection))
    else {
        let detail = "neither protocol nor certificate are known";
        return Err(Ended::refused(CloseReason::Forbidden, detail));
    };
    let detail = match (protocol, &name) {
        (Protocol::Peer, Name::Replica { .. }) | (Protocol::Client, Name::Client { .. }) => {
            return Ok((protocol, name));
        }
        (Protocol::Peer, Name::Client { .. }) => {
            format!("a client's certificate ({name}) on the protocol of replicas")
        }
        (Protocol::Client, Name::Replica { .. }) => {
            format!("a replica's certificate ({name}) on the protocol of clients")
        }
    };
    Err(Ended::refused(CloseReason::Forbidden, detail))
}

impl Shared {
    fn check_peer(&self, name: &Name) -> Result<(), Ended> {
        let known = match name {
            Name::Replica { replica, .. } => self.slot(*replica).is_some(),
            Name::Client { .. } => false,
        };
        if known {
            return Ok(());
        }
        let detail = format!("{name} is not another replica of this group");
        Err(Ended::refused(CloseReason::WrongSender, detail))
    }

    async fn serve(&self, greeted: Greeted, name: Name, inbox: &Inbox) {
        let connection = greeted.connection.clone();
        let from = connection.remote_address();
        match (name.identity(), name) {
            (None, Name::Replica { replica, .. }) => {
                if let Some(slot) = self.slot(replica) {
                    self.run_link(replica, slot, greeted, replica, inbox).await;
                }
            }
            (Some(identity), Name::Client { name, .. }) => {
                tracing::debug!(client = %name, %from, "connected");
                let ended = self.clients.serve(greeted, identity, self.cluster, inbox).await;
                ended.close(&connection);
                match ended {
                    Ended::Refused { .. } => self.warn_refused(from, &ended),
                    Ended::Lost { .. } => tracing::debug!(client = %name, "left: {ended}"),
                    Ended::NodeGone => self.close(),
                }
            }
            (None, Name::Client { .. }) | (Some(_), Name::Replica { .. }) => {}
        }
    }
}
