# Protocol.md 5.10: a request whose predecessor is missing is dropped, so that the order is kept.
cluster 3 window 4
given block c1->r0 request
request c1 put a 1
given unblock c1->r0
request c1 append a 2
expect r0 ignored request-gap
settle
expect not key a 2
resend c1
settle
given timeout r0 heartbeat
given settle
expect key a 12
expect same-state *
