# SEED-L9: after all replicas stopped at once, what was acknowledged is there, and the group serves.
cluster 3
given load c1 5 k
crash r0
crash r1
crash r2
given restart r0
given restart r1
given restart r2
given settle
expect r1 primary
given timeout r1 heartbeat
given settle
expect key k5 5
given request c1 put y 2
given resend c1
given settle
expect reply c1 "ok"
expect same-log r0 r1
