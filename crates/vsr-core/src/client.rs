//! The client's half of the protocol: one session, one operation at a time.
//!
//! 1. The client registers: REGISTER goes to the primary it believes in, and the session comes back.
//! 2. It numbers its operations from 1 and sends each to the primary it believes in.
//! 3. Without an answer it sends again, from the second try on to every replica.
//! 4. A redirect, or word of a later view, makes it send to that view's primary at once.
//! 5. When it gives up, what is not known to be done or not done is unknown.
