# Storage.md: a torn tail was never acknowledged; it is not there after a restart, and comes from a peer.
cluster 3
disk r2 slow
given request c1 put x 1
given settle
expect reply c1 "ok"
expect r2 op 1
crash r2 torn
disk r2 ok
restart r2
expect r2 op 0
given settle
given timeout r0 heartbeat
settle
expect r2 op 1
expect r2 commit 1
expect same-state *
