//! How long each timer runs. Pure: the driver measures the round trip and draws the dice.

use core::time::Duration;

use crate::effect::Timer;

/// Durations, each with its reason. `3 * heartbeat < primary_silence < view_change_stuck` and
/// `vote_window > 3 * vote_resend` must hold, and do for [`Timing::DEFAULT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// The primary speaks at least this often.
    pub heartbeat: Duration,
    /// A backup that has not heard the primary for this long votes, plus up to a fifth by chance.
    pub primary_silence: Duration,
    /// A backup that has not heard the primary for this long joins another's vote at once.
    pub primary_late: Duration,
    /// A vote is repeated this often.
    pub vote_resend: Duration,
    /// A vote counts for this long after it was last heard.
    pub vote_window: Duration,
    /// DO-VIEW-CHANGE is repeated this often.
    pub do_view_change_resend: Duration,
    /// A view change that has not ended by then is left; doubles with each in a row.
    pub view_change_stuck: Duration,
    /// The most that `view_change_stuck` grows to.
    pub view_change_stuck_max: Duration,
    /// The least time after which a PREPARE or a question is sent again; twice the round trip if
    /// that is more.
    pub resend_min: Duration,
    /// The most that a resend backs off to.
    pub resend_max: Duration,
    /// The primary gives way after this long without a quorum of acknowledgements.
    pub abdicate: Duration,
    /// All replicas tell one another where they are this often.
    pub ping: Duration,
    /// A part of a checkpoint is asked for again, of another replica, after so long without any of it; a
    /// large chunk may take that long on a slow link.
    pub transfer: Duration,
    /// A client sends a request again after this long, or four round trips if that is more.
    pub client_retry: Duration,
    /// The most that `client_retry` grows to.
    pub client_retry_max: Duration,
}

impl Timing {
    /// Values for a local network.
    pub const DEFAULT: Self = Self {
        heartbeat: Duration::from_millis(50),
        primary_silence: Duration::from_millis(250),
        primary_late: Duration::from_millis(150),
        vote_resend: Duration::from_millis(100),
        vote_window: Duration::from_millis(1000),
        do_view_change_resend: Duration::from_millis(100),
        view_change_stuck: Duration::from_millis(800),
        view_change_stuck_max: Duration::from_secs(10),
        resend_min: Duration::from_millis(50),
        resend_max: Duration::from_secs(1),
        abdicate: Duration::from_millis(500),
        ping: Duration::from_millis(200),
        transfer: Duration::from_millis(500),
        client_retry: Duration::from_millis(100),
        client_retry_max: Duration::from_millis(500),
    };

    /// How long `timer` runs when it is armed for the `attempt`-th time in vain, with a smoothed
    /// round trip of `srtt`. `dice` is any random number; it spreads retries so that replicas do not
    /// move in step.
    #[must_use]
    pub fn delay(&self, timer: Timer, attempt: u32, srtt: Duration, dice: u64) -> Duration {
        let resend = || backed_off((srtt * 2).max(self.resend_min), attempt, self.resend_max);
        match timer {
            Timer::PrimarySilence => self.primary_silence + part_of(self.primary_silence / 5, dice),
            Timer::PrimaryLate => self.primary_late,
            Timer::VoteResend => jittered(self.vote_resend, dice),
            Timer::VoteExpiry(_) => self.vote_window,
            Timer::DoViewChangeResend => jittered(self.do_view_change_resend, dice),
            Timer::ViewChangeStuck => jittered(
                backed_off(self.view_change_stuck, attempt, self.view_change_stuck_max),
                dice,
            ),
            Timer::Heartbeat => self.heartbeat,
            Timer::PrepareResend
            | Timer::GetView
            | Timer::Repair
            | Timer::ReadResend
            | Timer::Recovery
            | Timer::PreStepResend => jittered(resend(), dice),
            Timer::Abdicate => self.abdicate,
            Timer::Ping => jittered(self.ping, dice),
            Timer::Transfer => {
                jittered(backed_off(self.transfer, attempt, 4 * self.transfer), dice)
            }
        }
    }

    /// How long a client waits before it sends a request again.
    #[must_use]
    pub fn client_retry(&self, attempt: u32, srtt: Duration, dice: u64) -> Duration {
        let first = (srtt * 4).max(self.client_retry);
        jittered(backed_off(first, attempt, self.client_retry_max), dice)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// `delay` doubled `attempt` times, at most `max`, but never less than `delay`.
fn backed_off(delay: Duration, attempt: u32, max: Duration) -> Duration {
    delay.saturating_mul(1 << attempt.min(16)).min(max.max(delay))
}

/// `delay` plus up to a fifth of it.
fn jittered(delay: Duration, dice: u64) -> Duration {
    delay + part_of(delay / 5, dice)
}

/// A part of `span`, by chance.
fn part_of(span: Duration, dice: u64) -> Duration {
    span.mul_f64((dice >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_durations_keep_their_order() {
        let timing = Timing::DEFAULT;
        assert!(timing.heartbeat * 3 <= timing.primary_late);
        assert!(timing.primary_late < timing.primary_silence);
        assert!(timing.primary_silence < timing.view_change_stuck);
        assert!(timing.vote_window > timing.vote_resend * 3);
    }

    #[test]
    fn retries_back_off_up_to_their_bound_and_are_spread() {
        let timing = Timing::DEFAULT;
        let delay = |attempt, dice| timing.delay(Timer::Repair, attempt, Duration::ZERO, dice);
        assert_eq!(delay(0, 0), timing.resend_min);
        assert_eq!(delay(1, 0), timing.resend_min * 2);
        assert_eq!(delay(60, 0), timing.resend_max);
        assert!(delay(0, u64::MAX) > delay(0, 0));
        assert!(delay(0, u64::MAX) <= timing.resend_min * 6 / 5);
    }
}
