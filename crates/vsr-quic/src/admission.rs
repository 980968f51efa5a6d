//! Who is let in to say hello: counted before anything is known of them but their address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::limits::{GREETINGS_BEFORE_RETRY, GREETINGS_MAX, GREETINGS_PER_ADDRESS_MAX};

/// Counts the connections that have not said hello yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission(Arc<Mutex<Greetings>>);

#[derive(Debug, Default)]
struct Greetings {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A greeting under way; counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    admission: Admission,
    address: IpAddr,
}

impl Admission {
    /// Whether a dialler must prove its address first.
    pub(crate) fn is_busy(&self) -> bool {
        self.greetings().total >= GREETINGS_BEFORE_RETRY
    }

    /// Lets a greeting begin, unless too many are under way.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Ticket> {
        // An IPv6 host has a whole network of addresses at its disposal.
        let address = match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
            v4 @ IpAddr::V4(_) => v4,
        };
        let mut greetings = self.greetings();
        if greetings.total >= GREETINGS_MAX {
            return None;
        }
        let count = greetings.by_address.entry(address).or_default();
        if *count >= GREETINGS_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        greetings.total += 1;
        Some(Ticket { admission: self.clone(), address })
    }

    fn greetings(&self) -> MutexGuard<'_, Greetings> {
        self.0.lock().expect("no code panics with this lock")
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut greetings = self.admission.greetings();
        greetings.total -= 1;
        if let Some(count) = greetings.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                greetings.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_the_places_of_all() {
        let admission = Admission::default();
        let host = IpAddr::from([192, 0, 2, 1]);
        let tickets: Vec<_> =
            (0..GREETINGS_PER_ADDRESS_MAX).map(|_| admission.admit(host).unwrap()).collect();
        assert!(admission.admit(host).is_none());
        assert!(admission.admit(IpAddr::from([192, 0, 2, 2])).is_some());
        drop(tickets);
        assert!(admission.admit(host).is_some());
        assert!(admission.greetings().by_address.is_empty());
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_as_one() {
        let admission = Admission::default();
        let host = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
        let tickets: Vec<_> = (0..GREETINGS_PER_ADDRESS_MAX as u16)
            .map(|n| admission.admit(host(n)).unwrap())
            .collect();
        assert!(admission.admit(host(1000)).is_none());
        drop(tickets);
    }

    #[test]
    fn the_total_is_bounded_and_calls_for_proof_of_address_before_that() {
        let admission = Admission::default();
        let mut tickets = Vec::new();
        for n in 0u16.. {
            let [high, low] = n.to_be_bytes();
            let Some(ticket) = admission.admit(IpAddr::from([10, 0, high, low])) else {
                break;
            };
            assert_eq!(admission.is_busy(), tickets.len() + 1 >= GREETINGS_BEFORE_RETRY);
            tickets.push(ticket);
        }
        assert_eq!(tickets.len(), GREETINGS_MAX);
    }
}
