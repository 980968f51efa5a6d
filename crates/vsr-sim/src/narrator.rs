//! Writes down what happens in a world, as the lines of a transcript.

/// The lines of a transcript, while somebody wants them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Narrator {
    on: bool,
    timers: bool,
    lines: Vec<String>,
    /// Pings and heartbeats that change nothing are left out.
    hides_idle: bool,
    /// The arrival of one, until it shows whether it changes anything.
    idle_arrival: Option<String>,
    /// What one replica does, until its new state can be printed above it.
    block: Option<Vec<String>>,
}

impl Narrator {
    /// Whether anybody listens.
    pub(crate) const fn is_on(&self) -> bool {
        self.on
    }

    /// Begins or stops to write down.
    pub(crate) const fn set_on(&mut self, on: bool) {
        self.on = on;
    }

    /// Writes timers down as well.
    pub(crate) const fn show_timers(&mut self) {
        self.timers = true;
    }

    pub(crate) fn open_block(&mut self) {
        if self.on && self.block.is_none() {
            self.block = Some(Vec::new());
        }
    }

    pub(crate) const fn is_block_open(&self) -> bool {
        self.block.is_some()
    }

    /// Ends what one replica does: its state, then its effects. Nothing is printed where nothing
    /// happened.
    pub(crate) fn close_block(&mut self, state: String, happened: bool) {
        let Some(lines) = self.block.take() else { return };
        if let Some(arrival) = self.idle_arrival.take() {
            if lines.is_empty() {
                return;
            }
            self.lines.push(arrival);
        }
        if happened || !lines.is_empty() {
            self.lines.push(state);
            self.lines.extend(lines);
        }
    }

    pub(crate) fn say(&mut self, line: String) {
        match &mut self.block {
            Some(block) => block.push(line),
            None => self.lines.push(line),
        }
    }

    /// From here on pings and heartbeats that change nothing are left out, or not.
    pub(crate) const fn hide_idle(&mut self, hides: bool) {
        self.hides_idle = hides;
    }

    /// A message arrives; `idle` if it is one that mostly changes nothing.
    pub(crate) fn arrival(&mut self, line: String, idle: bool) {
        if idle && self.hides_idle {
            self.idle_arrival = Some(line);
        } else {
            self.say(line);
        }
    }

    pub(crate) fn timer(&mut self, line: impl FnOnce() -> String) {
        if self.on && self.timers {
            self.say(line());
        }
    }

    /// Takes the lines written so far.
    pub(crate) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}
