# D18: COMMIT names an op that this backup never received: it fetches what it lacks.
cluster 3
block r0->r2 prepare
given load c1 4 k
expect r2 op 0
timeout r0 heartbeat
deliver r0->r2 commit
expect r2 commit 0
settle
expect r2 commit 4
expect same-log r0 r2
expect same-state *
