# Protocol.md 5.10: the client-table keeps the replies of a window, and no other than its own answers a
# request that comes again.
cluster 3 window 4
given block r0->c1 reply
request c1 incr n 1
request c1 incr n 1
request c1 incr n 1
settle
expect no reply c1
given unblock r0->c1
resend c1
settle
expect reply c1 "3"
given timeout r0 heartbeat
given settle
expect key n 3
expect same-state *
