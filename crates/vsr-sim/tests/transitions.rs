//! Single transitions of a replica: one event in, all effects out, as snapshots.

use vsr_core::{
    Checksum, ClientId, ClientRequest, ClientRequestKind, ClusterId, Committed, Config,
    Configuration, Constants, Effect, Effects, Entry, Epoch, Event, Header, Incarnation, Kind,
    Message, Moment, OpNumber, Release, Replica, ReplicaId, Request, RequestNumber, Session,
    Subject, Timer, Timestamp, ViewNumber, Write, Written,
};

const CLUSTER: ClusterId = ClusterId(1);
type Body = &'static str;

/// A replica of three in view 0 whose writes the test completes.
struct Lone {
    replica: Replica<Body>,
    writes: Vec<Write<Body>>,
}

impl Lone {
    fn new(replica: u32) -> Self {
        let group = Configuration::of_replicas(3).expect("three replicas are a group");
        let constants = Constants { genesis_sessions: 1, ..Constants::DEFAULT };
        let config = Config::new(CLUSTER, ReplicaId(replica), group, constants);
        let mut effects = Effects::new();
        let replica = Replica::new(config.expect("r0 to r2 are members"), &mut effects);
        let mut this = Self { replica, writes: Vec::new() };
        let _ = this.tell(effects);
        let _ = this.sync();
        this
    }

    fn step(&mut self, event: Event<Body>) -> String {
        let mut effects = Effects::new();
        self.replica.step(event, &mut effects);
        self.replica.flush(&mut effects);
        self.tell(effects)
    }

    fn sync(&mut self) -> String {
        let done = self.writes.drain(..).map(Write::done).reduce(Written::and);
        self.step(Event::Written(done.expect("something was to be written")))
    }

    fn hear(&mut self, from: u32, kind: Kind<Body>) -> String {
        let message = Message {
            cluster: CLUSTER,
            epoch: Epoch::ZERO,
            view: ViewNumber::ZERO,
            incarnation: Incarnation(1),
            kind,
        };
        self.step(Event::Message { from: ReplicaId(from), message })
    }

    /// The effects, a line each, without checksums.
    fn tell(&mut self, mut effects: Effects<Body>) -> String {
        let lines = effects.drain().map(|effect| match effect {
            Effect::Send { to, message } => format!("-> {to} {}", told(&message)),
            Effect::Broadcast { message } => format!("-> * {}", told(&message)),
            Effect::Reply(reply) => format!("reply {:?}", reply.kind),
            Effect::Inform { view, primary } => format!("inform view={view} primary={primary}"),
            Effect::Persist(write) => {
                self.writes.push(write);
                "persist".to_owned()
            }
            Effect::ReadEntries { first, last } => format!("read {first}..={last}"),
            Effect::Apply { entry, skip } => format!("apply {entry:?} skip={skip:?}"),
            Effect::Checkpoint { header, .. } => format!("checkpoint {}", header.op),
            Effect::Query(query) => format!("query {query:?}"),
            Effect::Predict { requests, .. } => format!("predict {}", requests.len()),
            Effect::Combine { values, .. } => format!("combine {values:?}"),
            Effect::Check { entry } => format!("check {entry:?}"),
            Effect::Serve { to, wanted } => format!("serve {to} {wanted:?}"),
            Effect::Fetch(fetch) => format!("fetch {fetch:?}"),
            Effect::Restore { checkpoint } => format!("restore {}", checkpoint.op()),
            Effect::Arm { timer, attempt } => format!("arm {timer} {attempt}"),
            Effect::Disarm(timer) => format!("disarm {timer}"),
            Effect::Note(note) => format!("note {note:?}"),
            Effect::Halt(reason) => format!("halt: {reason}"),
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn told(message: &Message<Body>) -> String {
    let (name, view) = (message.kind.name(), message.view);
    match &message.kind {
        Kind::Prepare { entry, commit } => {
            format!("{name} view={view} op={} commit={}", entry.header().op, commit.op)
        }
        Kind::PrepareOk { op, .. } => format!("{name} view={view} op={op}"),
        Kind::Commit { commit } => format!("{name} view={view} commit={}", commit.op),
        Kind::DoViewChange { op, log_view, .. } => {
            format!("{name} view={view} log-view={log_view} op={op}")
        }
        Kind::Ping { .. }
        | Kind::StartViewChange { .. }
        | Kind::StartView { .. }
        | Kind::GetView { .. }
        | Kind::GetHeaders { .. }
        | Kind::Headers { .. }
        | Kind::GetEntry { .. }
        | Kind::Entry { .. }
        | Kind::Nack { .. }
        | Kind::ReadProbe { .. }
        | Kind::ReadOk { .. }
        | Kind::PreStep { .. }
        | Kind::PreStepOk { .. }
        | Kind::GetCheckpoint { .. }
        | Kind::Checkpoint { .. }
        | Kind::GetChunk { .. }
        | Kind::Chunk { .. }
        | Kind::NoChunk { .. }
        | Kind::Recovery { .. }
        | Kind::RecoveryResponse { .. } => format!("{name} view={view}"),
    }
}

fn request() -> Event<Body> {
    let kind = ClientRequestKind::Operation {
        session: Session { slot: 0, number: OpNumber::ZERO },
        number: RequestNumber(1),
        span: 0,
        digest: Checksum::of(b"x"),
        body: "x",
    };
    let request =
        ClientRequest { cluster: CLUSTER, client: ClientId(1), view: ViewNumber::ZERO, kind };
    Event::Request { request, subject: Subject::default(), at: Timestamp(5), now: Moment::ZERO }
}

fn prepare() -> Kind<Body> {
    let root = Header::root(CLUSTER);
    let request = Request::Operation {
        session: Session { slot: 0, number: OpNumber::ZERO },
        number: RequestNumber(1),
        span: 0,
        digest: Checksum::of(b"x"),
        body: "x",
    };
    let (epoch, view, release) = (Epoch::ZERO, ViewNumber::ZERO, Release::ZERO);
    let entry = Entry::prepare(&root, epoch, view, release, Timestamp(5), vec![request]);
    Kind::Prepare { entry, commit: Committed { op: OpNumber::ZERO, checksum: root.checksum } }
}

/// Paper, section 4.1, steps 2 and 3.
#[test]
fn a_request_at_the_primary_is_prepared_while_it_is_written() {
    insta::assert_snapshot!(Lone::new(0).step(request()));
}

/// Paper, section 4.1, step 4: PREPARE-OK waits for the disk.
#[test]
fn a_prepare_at_a_backup_is_written_and_then_acknowledged() {
    let mut backup = Lone::new(1);
    insta::assert_snapshot!(backup.hear(0, prepare()));
    insta::assert_snapshot!(backup.sync());
}

/// Paper, section 4.1, step 5.
#[test]
fn an_acknowledgement_and_the_own_disk_commit() {
    let mut primary = Lone::new(0);
    let _ = primary.step(request());
    let _ = primary.sync();
    let checksum = primary.replica.header(OpNumber(1)).expect("it was prepared").checksum;
    let (op, commit_min) = (OpNumber(1), OpNumber::ZERO);
    insta::assert_snapshot!(primary.hear(1, Kind::PrepareOk { op, checksum, commit_min }));
    insta::assert_snapshot!(primary.step(Event::Applied { op, replies: vec!["ok"] }));
}

/// Paper, section 4.1, step 6.
#[test]
fn an_idle_primary_says_what_is_committed() {
    insta::assert_snapshot!(Lone::new(0).step(Event::Timeout(Timer::Heartbeat)));
}

/// Paper, section 4.2, step 1.
#[test]
fn a_backup_that_hears_nothing_votes_to_leave_the_view() {
    insta::assert_snapshot!(Lone::new(1).step(Event::Timeout(Timer::PrimarySilence)));
}

/// Paper, section 4.2, step 2: DO-VIEW-CHANGE waits for the disk.
#[test]
fn a_quorum_of_votes_leads_to_the_next_view_once_it_is_durable() {
    let mut backup = Lone::new(2);
    let _ = backup.step(Event::Timeout(Timer::PrimarySilence));
    let vote = Kind::StartViewChange { log_view: ViewNumber::ZERO };
    insta::assert_snapshot!(backup.hear(1, vote));
    insta::assert_snapshot!(backup.sync());
}
